"""The heads of arrays that a file holds over and over, remembered by their bytes.

A head is what stands before the elements of an array: the extension and its length, the shape, the name of the dtype
and the number of bytes. Arrays of one kind have the same, so it is read once; two heads of equal bytes mean the same.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ckpt_core.arrays import LazyArray
from ckpt_core.storage import FileStorage
from ckpt_flax.msgpack.tokens import Cursor

__all__ = ["START", "Head", "Heads"]

START: Final = 5
"""Bytes at the start of a head that nearly always tell its length. No head is shorter."""

_LONGEST: Final = 100
_FEW: Final = 1 << 10
"""Bytes of a head that is remembered, and how many of them are."""


class Head(NamedTuple):
    """A head of `length` bytes, and what it says: shape and dtype, and how many bytes of elements follow."""

    length: int
    shape: tuple[int, ...]
    dtype: str
    nbytes: int


class Heads:
    """The heads of arrays that were met so far.

    `lengths` has the length of the last one with these first START bytes, `known` has what the bytes of a head say.
    """

    def __init__(self) -> None:
        self.lengths: dict[bytes, int] = {}
        self.known: dict[bytes, Head] = {}

    def learn(self, start: int, array: LazyArray, cursor: Cursor) -> None:
        """Remember the head of an array that was read from position `start` on, if it is still in the block."""
        storage = array.pieces[0].storage
        if not isinstance(storage, FileStorage):
            return
        length, at = storage.start - start, start - cursor.base
        if at < 0 or length > _LONGEST:
            return
        if len(self.known) == _FEW:
            self.known.clear()
            self.lengths.clear()
        head = cursor.block[at : at + length]
        self.lengths[head[:START]] = length
        self.known[head] = Head(length, array.shape, array.dtype, array.nbytes)
