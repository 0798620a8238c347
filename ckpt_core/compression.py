"""Compressed files: decompressed once, into a nameless temporary file of limited size."""

from __future__ import annotations

import bz2
import lzma
import os
import tempfile
import zlib
from collections.abc import Callable
from typing import Any, Final

from ckpt_core.errors import DamagedFileError, LimitError
from ckpt_core.source import Source
from ckpt_core.storage import BLOCK

__all__ = ["MAX_RATIO", "MIN_CAP", "compression_of", "decompressed"]

MAX_RATIO: Final = 64
"""A compressed file may grow by this factor ..."""

MIN_CAP: Final = 1 << 28
"""... or to this many bytes, whichever is more."""

_INPUT: Final = 1 << 16
"""Bytes that are handed to a decoder at a time; what a member leaves of them is copied for the next one."""

_DECODERS: Final[dict[str, Callable[[], Any]]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "zlib": zlib.decompressobj,
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=1 << 28),
    "lzma": lambda: lzma.LZMADecompressor(format=lzma.FORMAT_ALONE, memlimit=1 << 28),
}


def compression_of(source: Source) -> str | None:
    """Return the name of the compression that wraps a file, from its first bytes, or None."""
    head = source.head[:16]
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if head.startswith(b"BZh") and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        return "bz2"
    if head.startswith(b"\xfd7zXZ\0"):
        return "xz"
    if head.startswith(b"\x5d\0\0") and len(head) >= 13 and head[12:13] in (b"\0", b"\xff"):
        return "lzma"
    if (
        len(head) > 2
        and head[0] == 0x78
        and head[1] in (0x01, 0x5E, 0x9C, 0xDA)
        and (head[0] << 8 | head[1]) % 31 == 0
    ):
        return "zlib"
    return None


def decompressed(source: Source, compression: str) -> Source:
    """Return the decompressed bytes as a source.

    Raises:
        DamagedFileError: the stream is corrupt or ends early.
        LimitError: it grows beyond MAX_RATIO times its size and beyond MIN_CAP bytes.
    """
    cap = max(MIN_CAP, MAX_RATIO * source.size)
    with tempfile.TemporaryFile(prefix="ckpt-") as file:
        try:
            size = _pump(source, compression, file.fileno(), cap)
        except (zlib.error, OSError, lzma.LZMAError, EOFError, ValueError) as error:
            raise DamagedFileError(f"damaged {compression} stream: {error}", path=source.path) from error
        return source.unlinked(os.dup(file.fileno()), size)


def _pump(source: Source, compression: str, fd: int, cap: int) -> int:
    """Decompress every member of the stream into `fd`; returns the number of bytes."""
    size = position = 0
    decoder = _DECODERS[compression]()
    pending = b""
    while True:
        if getattr(decoder, "eof", False):
            pending = decoder.unused_data or pending
            if not pending and position >= source.size:
                return size
            if not pending:
                pending, position = _more(source, position)
            if (not pending.strip(b"\0") and position >= source.size) or compression in ("zlib", "lzma"):
                return size
            decoder = _DECODERS[compression]()
        if not pending and getattr(decoder, "needs_input", True):
            pending, position = _more(source, position)
        is_last = not pending and position >= source.size
        data = decoder.decompress(pending, BLOCK)
        if is_last and not data and not decoder.eof:
            raise DamagedFileError("ends in the middle of a compressed stream", path=source.path)
        pending = getattr(decoder, "unconsumed_tail", b"")
        size += len(data)
        if size > cap:
            raise LimitError(f"decompresses to more than {cap} bytes", path=source.path)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]


def _more(source: Source, position: int) -> tuple[bytes, int]:
    data = source.read(position, min(_INPUT, source.size - position))
    return data, position + len(data)
