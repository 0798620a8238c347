"""Unpack zstd frames with `zstandard`, where it is installed: at once, or piece by piece while they are read."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, Final

__all__ = ["fill_from_frame", "has_zstandard", "unpack_frame"]

_STEP: Final = 256 << 10
"""Bytes that are read at a time."""

_HEAD: Final = 18
"""The most bytes of a frame's header."""

_RLE: Final = 1
"""The kind of block that stores one byte for all of its own."""


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


def fill_from_frame(read: Callable[[int, int], bytes], stored: int, room: memoryview) -> bool:
    """Fill `room` with what a frame unpacks to; False where it is damaged or holds more or less.

    Its stored bytes are read piece by piece, so that they take no memory.

    Arguments:
        read: returns stored bytes by offset and length.
        stored: how many there are.
        room: as long as what it unpacks to.
    """
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
