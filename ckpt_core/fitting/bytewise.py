"""Arrays as their bytes, for containers that lack a dtype."""

from __future__ import annotations

from ckpt_core.arrays import LazyArray, Piece
from ckpt_core.dtypes import itemsize

__all__ = ["as_bytes", "from_bytes"]


def as_bytes(array: LazyArray) -> LazyArray:
    """Return the same bytes as uint8 with one more dimension, for containers that lack the dtype."""
    width = itemsize(array.dtype)
    shape = (*array.shape, width)
    if len(array.pieces) == 1:
        storage, offset, strides, _ = array.pieces[0]
        return LazyArray(shape, "uint8", storage, offset, None if strides is None else (*strides, 1))
    pieces = [
        Piece(
            p.storage,
            p.offset,
            None if p.strides is None else (*p.strides, 1),
            (*(p.region or ()), (0, width)),
        )
        for p in array.pieces
    ]
    return LazyArray.from_pieces(shape, "uint8", pieces)


def from_bytes(array: LazyArray, dtype: str) -> LazyArray:
    """Invert `as_bytes`; raises DamagedFileError when the shapes do not allow it."""
    width = itemsize(dtype)
    if array.dtype != "uint8" or not array.shape or array.shape[-1] != width or len(array.pieces) != 1:
        raise ValueError(f"an array of {dtype} is not stored as {array}")
    storage, offset, strides, _ = array.pieces[0]
    return LazyArray(array.shape[:-1], dtype, storage, offset, None if strides is None else strides[:-1])
