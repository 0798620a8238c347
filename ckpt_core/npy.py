"""NumPy's `.npy` form of one array, for backends of containers that hold such members (numpy.lib.format)."""

from __future__ import annotations

import io
import math
import re
from typing import Any, Final, NamedTuple

import numpy as np

from ckpt_core.arrays import MAX_DIMENSIONS, LazyArray, Piece
from ckpt_core.dtypes import ITEMSIZE, is_extended, name_of, to_numpy
from ckpt_core.errors import DamagedFileError, UnsupportedError
from ckpt_core.storage import MemoryStorage, Storage
from ckpt_core.strided import contiguous_strides

__all__ = ["HEADER", "NPY_DTYPES", "Header", "array_at", "as_npy", "read_header", "read_npy"]

NPY_DTYPES: Final = frozenset(name for name in ITEMSIZE if not is_extended(name))
"""The dtypes that a `.npy` header can name."""

HEADER: Final = 1 << 14
"""Bytes at the start of a `.npy` file that its header fits in."""

_LENGTH: Final = {b"\1\0": 2, b"\2\0": 4, b"\3\0": 4}
"""Bytes of the header's length, by the version of the format."""

_DIGITS: Final = 19

_ENTRY: Final = re.compile(
    rb"""\s*['"](descr|fortran_order|shape)['"]\s*:\s*"""
    rb"""(['"][<>|=]?[a-zA-Z]\d{0,9}(?:\[\w{1,9}\])?['"]|\[[^{}]*\]|True|False|\([\d,L\s]*\))\s*(?:,\s*|\Z)"""
)
"""One entry of a header: its name, and its value, which is a dtype, a list of fields, a truth or a tuple of sizes."""


class Header(NamedTuple):
    """What the header of a `.npy` file declares, and where the elements begin."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    start: int

    @property
    def nbytes(self) -> int:
        """The bytes of the elements."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(data: bytes | memoryview, place: str | None = None) -> Header:
    """Parse the header of a `.npy` file.

    Arguments:
        data: its first bytes, as many as there are up to HEADER.
        place: its name, for errors.

    Raises:
        DamagedFileError: it is none.
    """
    raw = bytes(data)
    width = _LENGTH.get(raw[6:8])
    if raw[:6] != b"\x93NUMPY" or width is None:
        raise DamagedFileError("has no valid header: it does not begin as one", place=place)
    first = 8 + width
    start = first + int.from_bytes(raw[8:first], "little")
    entries = _entries(raw[first:start]) if start <= len(raw) else {}
    shape, order, descr = (entries.get(key, b"") for key in (b"shape", b"fortran_order", b"descr"))
    if shape[:1] != b"(" or order not in (b"True", b"False") or descr[:1] not in (b"'", b'"', b"["):
        raise DamagedFileError("has no valid header: it is no dictionary of its three entries", place=place)
    return Header(_shape(shape, place), order == b"True", _dtype(descr, place), start)


def _entries(text: bytes) -> dict[bytes, bytes]:
    """Return the entries of a header, each value as it is written; nothing where anything else stands there.

    numpy writes a Python literal and reads it with Python's own parser; this takes what it writes, and no more.
    """
    found: dict[bytes, bytes] = {}
    text = text.strip()
    if text[:1] != b"{" or text[-1:] != b"}":
        return found
    body, position = text[1:-1], 0
    while match := _ENTRY.match(body, position):
        if match[1] in found:
            return {}
        found[match[1]] = match[2]
        position = match.end()
    return found if position == len(body) else {}


def _shape(text: bytes, place: str | None) -> tuple[int, ...]:
    sizes = [size for size in re.split(rb"[(),L\s]+", text) if size]
    if len(sizes) > MAX_DIMENSIONS or any(len(size) > _DIGITS for size in sizes):
        raise DamagedFileError(f"has no valid header: shape {text[:80]!r}", place=place)
    return tuple(map(int, sizes))


def _dtype(text: bytes, place: str | None) -> np.dtype[Any]:
    name = text[1:-1].decode("latin-1")
    if text[:1] == b"[":
        raise UnsupportedError("holds a numpy structure, which is no array of numbers", place=place)
    try:
        return np.dtype(name)
    except TypeError:
        raise DamagedFileError(f"has no valid header: dtype {name!r}", place=place) from None


def read_npy(storage: Storage, place: str | None = None) -> LazyArray:
    """Return the array of a `.npy` file; its header is parsed, its bytes stay where they are.

    Arguments:
        storage: the whole file, or the member that is one.
        place: its name, for errors.

    Raises:
        DamagedFileError: the header is no header, or declares another length than there is.
        UnsupportedError: the dtype has no neutral name.
    """
    header = read_header(storage.read(0, min(storage.nbytes, HEADER)), place)
    name = name_of(header.dtype)
    if name is None:
        raise UnsupportedError(f"holds numpy {header.dtype}, which is no array of numbers", place=place)
    if storage.nbytes - header.start != header.nbytes:
        raise DamagedFileError(
            f"does not hold the {header.shape} of {name} that its header declares", place=place
        )
    return array_at(storage, header, name)


def array_at(storage: Storage, header: Header, name: str) -> LazyArray:
    """Return the array that a header describes, as elements of the dtype of that neutral name.

    Arguments:
        storage: the `.npy` file.
        header: its header.
        name: a dtype whose elements are as long as those of the header's.
    """
    shape = header.shape
    strides = None
    if header.is_fortran:
        strides = contiguous_strides(shape[::-1], header.dtype.itemsize)[::-1]
    array = LazyArray(shape, name, storage, header.start, strides)
    return array if header.dtype.isnative else array.byteswapped()


def as_npy(array: LazyArray) -> LazyArray:
    """Return the bytes of a `.npy` file with this array: a header in memory, then the array where it is."""
    head = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(to_numpy(array.dtype))
    np.lib.format.write_array_header_1_0(head, {"descr": descr, "fortran_order": False, "shape": array.shape})
    if array.file_window() is None:
        array = LazyArray.from_numpy(array.read())
    start, stop = head.tell(), head.tell() + array.nbytes
    body = array.pieces[0]
    pieces = [
        Piece(MemoryStorage(head.getvalue()), 0, region=((0, start),)),
        Piece(body.storage, body.offset, region=((start, stop),)),
    ]
    return LazyArray.from_pieces((stop,), "uint8", pieces)
