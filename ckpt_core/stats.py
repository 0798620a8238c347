"""stats: what the numbers in an array look like, found in one pass over its bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import is_complex

__all__ = ["ArrayStats", "array_stats"]

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class ArrayStats:
    """Figures of one array; norm, mean, low and high are those of the finite elements.

    Arguments:
        nans, infinities: how many elements are so.
        zeros: how many elements are zero.
        size: the number of elements.
        norm: the 2-norm.
        mean, low, high: of the real elements; of magnitudes for complex arrays.
    """

    nans: int
    infinities: int
    zeros: int
    size: int
    norm: float
    mean: float
    low: float
    high: float

    @property
    def is_sound(self) -> bool:
        """Say whether every element is finite."""
        return not (self.nans or self.infinities)

    @property
    def is_all_zero(self) -> bool:
        """Say whether there are elements, and all are zero."""
        return self.size > 0 and self.zeros == self.size


def array_stats(array: LazyArray) -> ArrayStats:
    """Stream over an array and return its figures."""
    nans = infinities = zeros = count = 0
    squares = total = 0.0
    low, high = math.inf, -math.inf
    for start in range(0, array.size, _BLOCK):
        part = array.elements(start, min(start + _BLOCK, array.size))
        wide = np.abs(part.astype(np.complex128)) if is_complex(array.dtype) else part.astype(np.float64)
        missing = np.isnan(wide)
        infinite = np.isinf(wide)
        nans += int(missing.sum())
        infinities += int(infinite.sum())
        zeros += int((wide == 0).sum())
        finite = wide[~(missing | infinite)]
        count += finite.size
        if finite.size:
            with np.errstate(over="ignore"):
                squares += float(np.dot(finite, finite))
                total += float(finite.sum())
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    mean = total / count if count else math.nan
    if not count:
        low = high = math.nan
    return ArrayStats(nans, infinities, zeros, array.size, math.sqrt(squares), mean, low, high)
