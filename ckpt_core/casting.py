"""Casting: an array in another dtype, converted block by block as it is read."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import is_complex, is_float, is_known, itemsize, to_numpy
from ckpt_core.errors import UsageError
from ckpt_core.storage import BLOCK, Storage

__all__ = ["SHORT_NAMES", "cast", "dtype_named", "is_overflown", "what_is_infinite"]

SHORT_NAMES: Final = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "f16": "float16",
    "half": "float16",
    "fp32": "float32",
    "f32": "float32",
    "fp64": "float64",
    "f64": "float64",
    "double": "float64",
}
"""What people call the floating-point types."""


def dtype_named(name: object) -> str:
    """Return the neutral dtype for what a person gave; raises UsageError when it names no float type."""
    full = SHORT_NAMES.get(name.lower(), name) if isinstance(name, str) else ""
    if not is_known(full) or not is_float(full):
        raise UsageError(
            f"{name!r} is no floating-point dtype", remedy="Such as bf16, fp16, fp32, float8_e4m3fn."
        )
    return full


def cast(array: LazyArray, dtype: str) -> LazyArray:
    """Return a real floating-point array in another dtype; any other array as it is."""
    if array.dtype == dtype or not is_float(array.dtype) or is_complex(array.dtype):
        return array
    return LazyArray(array.shape, dtype, _CastStorage(array, dtype))


def what_is_infinite(dtype: str) -> float:
    """Return what infinity becomes in a dtype: the largest number of those that have no infinity and no NaN."""
    with np.errstate(all="ignore"):
        return float(np.array([np.inf], np.float32).astype(to_numpy(dtype))[0])


def is_overflown(array: LazyArray) -> bool:
    """Say whether a number, among those of a cast array that were read, is beyond what its dtype has."""
    return any(
        isinstance(piece.storage, _CastStorage) and piece.storage.is_overflown for piece in array.pieces
    )


class _CastStorage(Storage):
    """The elements of an array in C order, in another dtype."""

    __slots__ = ("array", "dtype", "is_overflown", "largest")

    def __init__(self, array: LazyArray, dtype: str) -> None:
        self.array = array
        self.dtype = dtype
        self.is_overflown = False
        self.largest = what_is_infinite(dtype)
        self.nbytes = array.size * itemsize(dtype)

    def verify(self) -> None:
        self.array.verify()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        width = itemsize(self.dtype)
        first = offset // width
        skip = offset - first * width
        done = 0
        while done < len(buffer):
            count = min(BLOCK, -(-(skip + len(buffer) - done) // width))
            converted = self._elements(first, count).view(np.uint8).data
            part = converted[skip : skip + len(buffer) - done]
            buffer[done : done + len(part)] = part
            done += len(part)
            first, skip = first + count, 0

    def _elements(self, first: int, count: int) -> np.ndarray:
        values = self.array.elements(first, first + count)
        with np.errstate(over="ignore", invalid="ignore"):
            converted = np.ascontiguousarray(values.astype(to_numpy(self.dtype)))
        if not self.is_overflown:
            lost = not np.array_equal(np.isfinite(values), np.isfinite(converted))
            self.is_overflown = lost or (math.isfinite(self.largest) and _reach(values) > self.largest)
        return converted


def _reach(values: np.ndarray) -> float:
    return float(np.abs(values).max(initial=0))
