"""NumPy's `.npy` form of one array, for backends of containers that hold such members (numpy.lib.format)."""

from __future__ import annotations

import io
import math
from typing import Any, Final, NamedTuple

import numpy as np

from ckpt_core.arrays import LazyArray, Piece
from ckpt_core.dtypes import ITEMSIZE, is_extended, name_of, to_numpy
from ckpt_core.errors import DamagedFileError, UnsupportedError
from ckpt_core.storage import MemoryStorage, Storage
from ckpt_core.strided import contiguous_strides

__all__ = ["HEADER", "NPY_DTYPES", "Header", "array_at", "as_npy", "read_header", "read_npy"]

NPY_DTYPES: Final = frozenset(name for name in ITEMSIZE if not is_extended(name))
"""The dtypes that a `.npy` header can name."""

HEADER: Final = 1 << 14
"""Bytes at the start of a `.npy` file that its header fits in."""


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
    head = io.BytesIO(data)
    formats = np.lib.format
    try:
        is_first = formats.read_magic(head) == (1, 0)
        parse = formats.read_array_header_1_0 if is_first else formats.read_array_header_2_0
        shape, is_fortran, dtype = parse(head)
    except Exception as error:  # numpy's parser has many ways to refuse a header
        raise DamagedFileError(f"has no valid header: {error}", place=place) from error
    if any(size < 0 for size in shape):
        raise DamagedFileError(f"has no valid header: shape {shape}", place=place)
    return Header(shape, is_fortran, dtype, head.tell())


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
