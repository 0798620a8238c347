"""Unpack gzip, zlib and bz2 streams piece by piece, while they are read."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Generator
from typing import Final

__all__ = ["STREAMS", "fill_from_stream", "unpacked"]

STREAMS: Final = frozenset({"gzip", "zlib", "bz2"})

_STEP: Final = 256 << 10
"""Bytes that are read at a time."""

_PIECE: Final = 1 << 20
"""Bytes that are unpacked at a time."""

Read = Callable[[int, int], bytes]


def unpacked(codec: str, read: Read, stored: int) -> Generator[bytes, None, bool]:
    """Yield what a stream unpacks to, and return whether it ends exactly where its stored bytes do.

    Arguments:
        codec: one of STREAMS.
        read: returns stored bytes by offset and length.
        stored: how many there are.

    Raises:
        OSError, zlib.error: it is no such stream.
    """
    return _bz2(read, stored) if codec == "bz2" else _deflated(codec, read, stored)


def fill_from_stream(codec: str, read: Read, stored: int, room: memoryview) -> bool:
    """Fill `room` with what a stream unpacks to; False where it is damaged or holds more or less."""
    pieces, done = unpacked(codec, read, stored), 0
    try:
        while True:
            piece = next(pieces)
            if len(piece) > len(room) - done:
                return False
            room[done : done + len(piece)] = piece
            done += len(piece)
    except StopIteration as end:
        return done == len(room) and bool(end.value)
    except (ValueError, OSError, zlib.error):
        return False


def _deflated(codec: str, read: Read, stored: int) -> Generator[bytes, None, bool]:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16 if codec == "gzip" else zlib.MAX_WBITS)
    for offset in range(0, stored, _STEP):
        rest = read(offset, min(_STEP, stored - offset))
        end = offset + len(rest)
        piece = b"x"
        while (rest or len(piece) == _PIECE) and not unpacker.eof:
            piece = unpacker.decompress(rest, _PIECE)
            rest = unpacker.unconsumed_tail
            yield piece
        if unpacker.eof:
            return end == stored and not unpacker.unused_data
    return False


def _bz2(read: Read, stored: int) -> Generator[bytes, None, bool]:
    unpacker = bz2.BZ2Decompressor()
    for offset in range(0, stored, _STEP):
        rest = read(offset, min(_STEP, stored - offset))
        end = offset + len(rest)
        while (rest or not unpacker.needs_input) and not unpacker.eof:
            piece = unpacker.decompress(rest, _PIECE)
            rest = b""
            yield piece
        if unpacker.eof:
            return end == stored and not unpacker.unused_data
    return False
