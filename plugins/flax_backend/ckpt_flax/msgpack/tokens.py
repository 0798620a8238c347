"""The tokens of msgpack, read from a source block by block; https://github.com/msgpack/msgpack/blob/master/spec.md."""

from __future__ import annotations

import struct
from typing import Any, Final

from ckpt_core.errors import DamagedFileError, LimitError
from ckpt_core.source import Source

__all__ = ["ARRAY", "BIN", "EXT", "MAP", "MAX_TEXT", "STR", "VALUE", "Cursor"]

MAX_TEXT: Final = 1 << 28
"""Bytes that one text or one value of bytes may have."""

_BLOCK: Final = 1 << 18
_FIRST: Final = 1 << 12
"""Bytes of a block at most, and of the first one at a place that was skipped to."""

_LONGEST_HEAD: Final = 9

VALUE, MAP, ARRAY, STR, BIN, EXT = range(6)

_CONSTANTS: Final = {0xC0: None, 0xC2: False, 0xC3: True}
_LENGTHS: Final = {
    0xC4: (BIN, 1),
    0xC5: (BIN, 2),
    0xC6: (BIN, 4),
    0xC7: (EXT, 1),
    0xC8: (EXT, 2),
    0xC9: (EXT, 4),
    0xD9: (STR, 1),
    0xDA: (STR, 2),
    0xDB: (STR, 4),
    0xDC: (ARRAY, 2),
    0xDD: (ARRAY, 4),
    0xDE: (MAP, 2),
    0xDF: (MAP, 4),
}
_NUMBERS: Final = {
    code: struct.Struct(">" + kind)
    for code, kind in zip((0xCA, 0xCB, *range(0xCC, 0xD4)), "fdBHIQbhiq", strict=True)
}


class Cursor:
    """The tokens of a source from one position on, read through a block at a time."""

    __slots__ = ("_next", "base", "block", "end", "index", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.end = source.size
        self.base = 0
        self.block = b""
        self.index = 0
        self._next = _FIRST

    @property
    def position(self) -> int:
        """The position in the source."""
        return self.base + self.index

    def token(self) -> tuple[int, Any]:
        """Return (VALUE, the value) or (kind, the length that follows: entries or bytes)."""
        if self.index + _LONGEST_HEAD > len(self.block):
            self.refill(_LONGEST_HEAD)
        block, at = self.block, self.index
        try:
            code = block[at]
            if code < 0x80 or code >= 0xE0:
                self.index = at + 1
                return VALUE, code if code < 0x80 else code - 0x100
            if code < 0xC0:
                self.index = at + 1
                if code >= 0xA0:
                    return STR, code & 31
                return (MAP if code < 0x90 else ARRAY), code & 15
            if code in _LENGTHS:
                kind, width = _LENGTHS[code]
                self.index = at + 1 + width
                if self.index > len(block):
                    raise IndexError
                return kind, int.from_bytes(block[at + 1 : at + 1 + width], "big")
            if code in _NUMBERS:
                number = _NUMBERS[code]
                self.index = at + 1 + number.size
                return VALUE, number.unpack_from(block, at + 1)[0]
            self.index = at + 1
            if code in _CONSTANTS:
                return VALUE, _CONSTANTS[code]
            if 0xD4 <= code <= 0xD8:
                return EXT, 1 << (code - 0xD4)
        except (IndexError, struct.error):
            raise self.cut_off() from None
        raise self.damaged(f"holds the byte 0x{code:02x}, which msgpack never uses", self.base + at)

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes."""
        stop = self.index + length
        if stop > len(self.block):
            if length > MAX_TEXT:
                raise LimitError(
                    f"a value of {length} bytes is beyond the {MAX_TEXT} allowed", place=self.place()
                )
            self.refill(length)
            stop = self.index + length
            if stop > len(self.block):
                raise self.cut_off()
        data = self.block[self.index : stop]
        self.index = stop
        return data

    def seek(self, position: int) -> None:
        """Go to a position."""
        self.base, self.index, self.block = position, 0, b""

    def skip(self, length: int) -> None:
        """Step over `length` bytes, which must be there."""
        if self.base + self.index + length > self.end:
            raise self.cut_off()
        self.index += length

    def ext_code(self) -> int:
        """Return the type of an extension whose length was just read."""
        return self.take(1)[0]

    def text(self, length: int) -> str:
        """Return the next `length` bytes as text."""
        at = self.position
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise self.damaged(f"text is not valid UTF-8: {error.reason}", at) from None

    def refill(self, length: int) -> None:
        """Let the block begin at the position, with `length` bytes where the source has as many."""
        # Where arrays are large, little but their heads is read; where they are small, one block follows another.
        self._next = min(_FIRST if self.index > len(self.block) else 2 * self._next, _BLOCK)
        self.base += self.index
        self.index = 0
        self.block = self.source.read(self.base, min(max(length, self._next), max(self.end - self.base, 0)))

    # Errors.

    def place(self, position: int | None = None) -> str:
        """Say where."""
        return f"byte {self.position if position is None else position}"

    def damaged(self, reason: str, position: int | None = None) -> DamagedFileError:
        """Return the error for what is wrong at a position."""
        return DamagedFileError(reason, path=self.source.path, place=self.place(position))

    def cut_off(self) -> DamagedFileError:
        """Return the error for a source that ends too early."""
        return DamagedFileError(
            f"ends at byte {self.end}, inside a value",
            path=self.source.path,
            place=self.place(),
        )
