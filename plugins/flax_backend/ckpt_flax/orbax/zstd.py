"""Unpack zstd frames with `zstandard`, where it is installed: nodes of a database, and plain chunks.

A chunk that is one frame of plain elements is how Orbax writes by default. It is decoded in one step and without a
copy in between. tensorstore decodes it as well, and everything else; it needs several copies.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

__all__ = ["decode_frame", "has_zstandard", "is_one_frame", "room_for", "unpack_frame"]

_LONG: Final = 1 << 20
"""Beyond this stored length on a frame is unpacked while it is read."""

_STEP: Final = 256 << 10
"""Bytes that are then read at a time."""

_HEAD: Final = 18
"""The most bytes of a frame's header."""

_RLE: Final = 1
"""The kind of block that stores one byte for all of its own."""


@functools.lru_cache(maxsize=1024)
def is_one_frame(spec: str) -> bool:
    """Say whether the chunks of a description are one zstd frame of little-endian elements in C order."""
    parsed = json.loads(spec)
    metadata = parsed["metadata"]
    if parsed["driver"] == "zarr":
        compressor = metadata.get("compressor")
        return (
            isinstance(compressor, dict)
            and compressor.get("id") == "zstd"
            and not metadata.get("filters")
            and metadata.get("order") == "C"
            and isinstance(metadata.get("dtype"), str)
            and metadata["dtype"][:1] in {"<", "|"}
        )
    codecs = metadata.get("codecs")
    if not isinstance(codecs, list) or len(codecs) != 2:
        return False
    inner, outer = codecs
    endian = inner.get("configuration", {}).get("endian", "little")
    return (inner.get("name"), endian, outer.get("name")) == ("bytes", "little", "zstd")


def room_for(spec: str, stored: int, nbytes: int) -> memoryview | None:
    """Return memory that `decode_frame` will unpack a long frame into, None where it needs none.

    One thread should ask for that of all chunks: what a thread has freed is seldom used again by another.
    """
    is_long = stored > _LONG and has_zstandard() and is_one_frame(spec)
    return np.empty(nbytes, np.uint8).data if is_long else None


def decode_frame(
    spec: str,
    read: Callable[[int, int], bytes],
    stored: int,
    nbytes: int,
    extent: tuple[int, ...],
    room: memoryview | None,
) -> memoryview | None:
    """Return the elements of a chunk within `extent`, or None where this cannot be done here.

    A long frame is read and unpacked piece by piece, so that its stored bytes take no memory.

    Arguments:
        spec: the description that `is_one_frame` was asked about.
        read: returns stored bytes by offset and length.
        stored: the number of stored bytes.
        nbytes: the decoded length of the whole chunk.
        extent: how much of the chunk lies within the array, per dimension.
        room: what `room_for` returned.
    """
    if not has_zstandard():
        return None
    decoded: bytes | memoryview | None
    if room is not None:
        decoded = room if _unpack_by_pieces(read, stored, room) else None
    else:
        decoded = unpack_frame(read(0, stored), nbytes)
    if decoded is None or len(decoded) != nbytes:
        return None
    shape = tuple(json.loads(spec)["metadata"]["shape"])
    if shape == extent:
        return memoryview(decoded)
    width = nbytes // math.prod(shape)
    elements = np.frombuffer(decoded, np.dtype(f"V{width}")).reshape(shape)
    return np.ascontiguousarray(elements[tuple(map(slice, extent))]).reshape(-1).view(np.uint8).data


def has_zstandard() -> bool:
    """Say whether frames can be unpacked here."""
    return _zstandard() is not None


def unpack_frame(data: bytes | memoryview, limit: int) -> bytes | None:
    """Return what one zstd frame unpacks to, or None where it is damaged, or more than `limit` bytes."""
    zstandard = _zstandard()
    try:
        if zstandard.frame_content_size(data) > limit:
            return None
        unpacked: bytes = zstandard.ZstdDecompressor().decompress(
            data, max_output_size=max(limit, 1), allow_extra_data=False
        )
    except (zstandard.ZstdError, MemoryError):
        return None
    return unpacked


class _Frame:
    """The stored bytes of one frame, read in pieces by a decoder, and whether they end where its blocks do.

    A decoder that is given pieces stops where the frame ends and cannot tell that bytes follow, nor, where only the
    end of a frame is missing, that anything is. The headers of the blocks (RFC 8878) say where it has to end.

    Arguments:
        read: returns stored bytes by offset and length.
        nbytes: how many there are.
    """

    def __init__(self, read: Callable[[int, int], bytes], nbytes: int) -> None:
        self._read_at, self._nbytes, self._at = read, nbytes, 0
        head = read(0, min(nbytes, _HEAD))
        parameters = _zstandard().get_frame_parameters(head)
        self.content: int = parameters.content_size
        self._tail = 4 if parameters.has_checksum else 0
        self._block: int = _zstandard().frame_header_size(head)
        self._has_ended = False

    def read(self, size: int) -> bytes:
        """Return the bytes that follow, at most `size`, none at the end."""
        at = self._at
        piece = self._read_at(at, min(size, self._nbytes - at))
        self._at = end = at + len(piece)
        while not self._has_ended and self._block + 3 <= end:
            offset = self._block - at
            header = piece[offset : offset + 3] if offset >= 0 else self._read_at(self._block, 3)
            value = int.from_bytes(header, "little")
            self._has_ended, kind, length = bool(value & 1), value >> 1 & 3, value >> 3
            self._block += 3 + (1 if kind == _RLE else length)
        return piece

    def is_whole(self) -> bool:
        """Say whether all of it was read, and the frame ends exactly there."""
        return self._has_ended and self._at == self._nbytes == self._block + self._tail


def _unpack_by_pieces(read: Callable[[int, int], bytes], stored: int, room: memoryview) -> bool:
    """Fill `room` with what a frame unpacks to; False where it is damaged or holds more or less."""
    zstandard, nbytes = _zstandard(), len(room)
    try:
        frame = _Frame(read, stored)
        if frame.content not in (nbytes, zstandard.CONTENTSIZE_UNKNOWN):
            return False
        with zstandard.ZstdDecompressor().stream_reader(frame, read_size=_STEP) as reader:
            done, count = 0, 1
            while count and done < nbytes:
                count = reader.readinto(room[done:])
                done += count
            is_exact = done == nbytes and not reader.read(1)  # which reads the checksum, too
    except (zstandard.ZstdError, MemoryError):
        return False
    return is_exact and frame.is_whole()


@functools.cache
def _zstandard() -> Any:
    try:
        return importlib.import_module("zstandard")
    except ImportError:
        return None
