"""Decode chunks that are one compressed stream of plain elements, without tensorstore and its copies.

That is how Orbax writes by default (zstd), and how it wrote before (gzip). tensorstore decodes these as well, and
everything else; it needs the stored bytes twice and the decoded ones twice.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from ckpt_flax.orbax.streams import STREAMS, fill_from_stream
from ckpt_flax.orbax.zstd import fill_from_frame, has_zstandard, unpack_frame

__all__ = ["codec_of", "decode_plain", "room_for"]

_LONG: Final = 1 << 20
"""Beyond this stored length on a zstd frame is unpacked while it is read."""


def codec_of(spec: str) -> str | None:
    """Return what packs the chunks of a description, where they are one stream that is unpacked here, else None.

    Their elements are little-endian and in C order.
    """
    codec = _codec(spec)
    return codec if codec in STREAMS or (codec == "zstd" and has_zstandard()) else None


@functools.lru_cache(maxsize=1024)
def _codec(spec: str) -> str | None:
    parsed = json.loads(spec)
    metadata = parsed["metadata"]
    return _codec_2(metadata) if parsed["driver"] == "zarr" else _codec_3(metadata)


def _codec_2(metadata: dict[str, Any]) -> str | None:
    compressor, dtype = metadata.get("compressor"), metadata.get("dtype")
    codec = compressor.get("id") if isinstance(compressor, dict) else None
    is_plain = (
        not metadata.get("filters")
        and metadata.get("order") == "C"
        and isinstance(dtype, str)
        and dtype.startswith(("<", "|", "bfloat16", "float8_"))
    )
    return codec if is_plain and isinstance(codec, str) else None


def _codec_3(metadata: dict[str, Any]) -> str | None:
    codecs = metadata.get("codecs")
    if not isinstance(codecs, list) or len(codecs) != 2:
        return None
    inner, outer = codecs
    endian = inner.get("configuration", {}).get("endian", "little")
    is_plain = (inner["name"], endian) == ("bytes", "little") and outer["name"] in ("gzip", "zstd")
    return str(outer["name"]) if is_plain else None


def room_for(spec: str, stored: int, nbytes: int) -> memoryview | None:
    """Return memory that `decode_plain` will unpack into piece by piece, None where it does not.

    One thread should ask for that of all chunks: what a thread has freed is seldom used again by another.
    """
    codec = codec_of(spec)
    by_pieces = codec in STREAMS or (codec == "zstd" and stored > _LONG)
    return np.empty(nbytes, np.uint8).data if by_pieces else None


def decode_plain(
    spec: str,
    read: Callable[[int, int], bytes],
    stored: int,
    nbytes: int,
    extent: tuple[int, ...],
    room: memoryview | None,
) -> memoryview | None:
    """Return the elements of a chunk within `extent`, or None where this is left to tensorstore: damage, too.

    Arguments:
        spec: the description of its array, as canonical JSON.
        read: returns stored bytes by offset and length.
        stored: the number of stored bytes.
        nbytes: the decoded length of the whole chunk.
        extent: how much of the chunk lies within the array, per dimension.
        room: what `room_for` returned.
    """
    codec = codec_of(spec)
    if codec is None:
        return None
    decoded: bytes | memoryview | None
    if room is None:
        decoded = unpack_frame(read(0, stored), nbytes)
    elif codec == "zstd":
        decoded = room if fill_from_frame(read, stored, room) else None
    else:
        decoded = room if fill_from_stream(codec, read, stored, room) else None
    if decoded is None or len(decoded) != nbytes:
        return None
    shape = tuple(json.loads(spec)["metadata"]["shape"])
    if shape == extent:
        return memoryview(decoded)
    width = nbytes // math.prod(shape)
    elements = np.frombuffer(decoded, np.dtype(f"V{width}")).reshape(shape)
    return np.ascontiguousarray(elements[tuple(map(slice, extent))]).reshape(-1).view(np.uint8).data
