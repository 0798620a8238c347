"""NumPy's `.npy` form of one array, for backends of containers that hold such members (numpy.lib.format)."""

from __future__ import annotations

import io
import math
from typing import Final

import numpy as np

from ckpt_core.arrays import LazyArray, Piece
from ckpt_core.dtypes import ITEMSIZE, is_extended, name_of, to_numpy
from ckpt_core.errors import DamagedFileError, UnsupportedError
from ckpt_core.storage import MemoryStorage, Storage
from ckpt_core.strided import contiguous_strides

__all__ = ["NPY_DTYPES", "as_npy", "read_npy"]

NPY_DTYPES: Final = frozenset(name for name in ITEMSIZE if not is_extended(name))
"""The dtypes that a `.npy` header can name."""

_HEADER: Final = 1 << 14


def read_npy(storage: Storage, place: str | None = None) -> LazyArray:
    """Return the array of a `.npy` file; its header is parsed, its bytes stay where they are.

    Arguments:
        storage: the whole file, or the member that is one.
        place: its name, for errors.

    Raises:
        DamagedFileError: the header is no header, or declares another length than there is.
        UnsupportedError: the dtype has no neutral name.
    """
    head = io.BytesIO(storage.read(0, min(storage.nbytes, _HEADER)))
    formats = np.lib.format
    try:
        is_first = formats.read_magic(head) == (1, 0)
        parse = formats.read_array_header_1_0 if is_first else formats.read_array_header_2_0
        shape, is_fortran, dtype = parse(head)
    except Exception as error:  # numpy's parser has many ways to refuse a header
        raise DamagedFileError(f"has no valid header: {error}", place=place) from error
    name = name_of(dtype)
    if name is None:
        raise UnsupportedError(f"holds numpy {dtype}, which is no array of numbers", place=place)
    start, nbytes = head.tell(), math.prod(shape) * dtype.itemsize
    if storage.nbytes - start != nbytes:
        raise DamagedFileError(f"does not hold the {shape} of {name} that its header declares", place=place)
    strides = contiguous_strides(shape[::-1], dtype.itemsize)[::-1] if is_fortran else None
    array = LazyArray(shape, name, storage, start, strides)
    return array if dtype.isnative else array.byteswapped()


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
