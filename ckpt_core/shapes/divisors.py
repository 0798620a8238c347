"""Divisors and whole roots, in bounded time."""

from __future__ import annotations

import functools
import itertools
from typing import Final

__all__ = ["divisors", "whole_root"]

_TRIAL: Final = 1 << 18
"""Divisors are found up to here; what is left over counts as prime."""


def whole_root(size: int, power: int) -> int | None:
    """Return the whole number that has a size as its power, or None where there is none.

    Example:
        >>> whole_root(64, 3), whole_root(65, 3)
        (4, None)
    """
    if power < 1:
        return None
    low, high = 1, 1 << (size.bit_length() // power + 1)
    while low < high:
        middle = (low + high) // 2
        if middle**power < size:
            low = middle + 1
        else:
            high = middle
    return low if low**power == size else None


@functools.lru_cache(512)
def divisors(size: int) -> tuple[tuple[int, ...], bool]:
    """Return the divisors of a positive number in ascending order, and whether they are all there are.

    Example:
        >>> divisors(12)
        ((1, 2, 3, 4, 6, 12), True)
    """
    rest, found = size, [1]
    for factor in itertools.chain((2,), range(3, _TRIAL, 2)):
        if factor * factor > rest:
            break
        powers = [1]
        while rest % factor == 0:
            rest //= factor
            powers.append(powers[-1] * factor)
        if len(powers) > 1:
            found = [divisor * power for divisor in found for power in powers]
    if rest > 1:
        found += [divisor * rest for divisor in found]
    return tuple(sorted(found)), rest < _TRIAL * _TRIAL
