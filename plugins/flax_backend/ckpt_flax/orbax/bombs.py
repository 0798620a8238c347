"""How much a compressed chunk may unpack to, found before a library unpacks it.

tensorstore unpacks a stream to its end and compares the length afterwards, so a few kilobytes could fill the
memory. What the streams say about themselves is enough to refuse that: the block headers of zstd (RFC 8878) and
the header of blosc; gzip, zlib and bz2 say nothing, and are unpacked once piece by piece.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ckpt_core.errors import DamagedFileError, LimitError
from ckpt_flax.orbax.streams import STREAMS, unpacked

__all__ = ["ZSTD_MAGIC", "check_chunk", "zstd_bound"]

_SLACK: Final = 64 << 20
"""Bytes by which a bound may exceed what is declared: the length of a compressed zstd block is not stated."""

ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_BLOCK: Final = 128 << 10
_MISSING: Final = (1 << 64) - 1


def check_chunk(spec: Mapping[str, Any], data: bytes, nbytes: int) -> None:
    """Refuse a chunk that would unpack to far more than it declares.

    Arguments:
        spec: the driver and metadata of its array, as handed to tensorstore.
        data: the stored bytes.
        nbytes: the bytes that its shape and dtype declare.

    Raises:
        LimitError: it holds more.
        DamagedFileError: it has no beginning of the kind that its array states.
    """
    metadata = spec["metadata"]
    if spec["driver"] == "zarr":
        compressor = metadata.get("compressor")
        if isinstance(compressor, dict):
            _check_stream(compressor.get("id"), data, nbytes)
        return
    shape = metadata["shape"]
    _check_codecs(metadata["codecs"], data, shape, nbytes // math.prod(shape))


def _check_codecs(codecs: list[Any], data: bytes, shape: list[int], width: int) -> None:
    """Follow the codecs of zarr 3 from the stored bytes inwards, as far as they unpack anything."""
    for codec in reversed(codecs):
        name = codec.get("name") if isinstance(codec, dict) else None
        if name == "crc32c":
            data = data[:-4]
        elif name == "sharding_indexed":
            inner, parts = _inner_chunks(codec, data, shape)
            for part in parts:
                _check_codecs(codec["configuration"].get("codecs", []), part, inner, width)
            return
        else:
            _check_stream(name, data, math.prod(shape) * width)
            return


def _inner_chunks(
    codec: Mapping[str, Any], data: bytes, shape: list[int]
) -> tuple[list[int], Iterator[bytes]]:
    """Return the shape of the inner chunks of a shard, and their bytes by its index of (offset, length) pairs."""
    configuration = codec.get("configuration")
    if not isinstance(configuration, dict):
        raise DamagedFileError("sharding_indexed has no configuration")
    inner = configuration.get("chunk_shape")
    if not isinstance(inner, list) or not all(type(size) is int and size > 0 for size in inner):
        raise DamagedFileError("sharding_indexed has no chunk_shape")
    if len(inner) != len(shape) or any(size % part for size, part in zip(shape, inner, strict=True)):
        raise DamagedFileError(f"inner chunks {str(inner)[:80]} do not divide a shard of {str(shape)[:80]}")
    names = [codec.get("name") for codec in configuration.get("index_codecs", ()) if isinstance(codec, dict)]
    if names not in (["bytes", "crc32c"], ["bytes"]):
        raise DamagedFileError(f"index codecs {str(names)[:80]} of a shard are not known here")
    tail = 4 if names[-1] == "crc32c" else 0
    at_start = configuration.get("index_location") == "start"
    index = _index(data, tail, at_start, math.prod(shape) // math.prod(inner))
    return inner, (data[offset : offset + length] for offset, length in index if offset != _MISSING)


def _index(data: bytes, tail: int, at_start: bool, count: int) -> Iterator[tuple[int, int]]:
    length = 16 * count + tail
    if length > len(data):
        raise DamagedFileError(f"a shard of {len(data)} bytes is shorter than its index")
    start = 0 if at_start else len(data) - length
    yield from struct.iter_unpack("<QQ", data[start : start + 16 * count])


def _check_stream(name: Any, data: bytes, nbytes: int) -> None:
    if name == "zstd":
        held = zstd_bound(data)
    elif name == "blosc":
        held = struct.unpack("<I", data[4:8])[0] if len(data) >= 16 else 0
    elif name in STREAMS:
        held = _unpacked(name, data, nbytes + _SLACK)
    else:
        return
    if held > nbytes + max(nbytes, _SLACK):
        raise LimitError(f"a chunk of {nbytes} bytes unpacks to up to {held}")


def _unpacked(name: str, data: bytes, limit: int) -> int:
    """Return how many bytes a stream holds, counting no further than just beyond `limit`."""
    total = 0
    try:
        for piece in unpacked(name, lambda offset, length: data[offset : offset + length], len(data)):
            total += len(piece)
            if total > limit:
                break
    except (OSError, zlib.error) as error:
        raise DamagedFileError(f"a chunk is no {name} stream ({error})") from error
    return total


def zstd_bound(data: bytes | memoryview) -> int:
    """Return the most bytes that zstd frames can unpack to, from their block headers.

    Malformed frames end the count: a decoder stops there too.

    Example:
        >>> zstd_bound(bytes.fromhex("28b52ffd 20 08 410000 0300000000000000"))
        8
    """
    total = position = 0
    while data[position : position + 4] == ZSTD_MAGIC and len(data) > position + 4:
        flags = data[position + 4]
        position += 5 + _header_length(flags)
        last = False
        while not last and position + 3 <= len(data):
            header = int.from_bytes(data[position : position + 3], "little")
            last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
            position += 3 + (1 if kind == 1 else size)
            total += _ZSTD_BLOCK if kind > 1 else size
        position += 4 if flags & 4 else 0
    return total


def _header_length(flags: int) -> int:
    """Return the length of a frame header after its first byte: window, dictionary and content size."""
    single = flags >> 5 & 1
    return (1 - single) + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
