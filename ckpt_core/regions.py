"""Regions of an array: what an index selects, and how an array is cut into parts that stream."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from typing import Any, SupportsIndex

import numpy as np

__all__ = ["Region", "basic_index", "run_of", "split"]

Region = tuple[tuple[int, int], ...]
"""A (start, stop) pair per dimension."""


def split(shape: tuple[int, ...], width: int, nbytes: int) -> Iterator[Region]:
    """Cut an array into regions of about `nbytes` that follow one another in C order."""
    whole = tuple((0, size) for size in shape)
    total = math.prod(shape) * width
    if total <= nbytes or not shape:
        yield whole
        return
    row = total // shape[0]
    if row > nbytes:
        for index in range(shape[0]):
            for rest in split(shape[1:], width, nbytes):
                yield ((index, index + 1), *rest)
        return
    step = max(nbytes // max(row, 1), 1)
    for low in range(0, shape[0], step):
        yield ((low, min(low + step, shape[0])), *whole[1:])


def run_of(shape: tuple[int, ...], start: int, stop: int) -> Iterator[Region]:
    """Cut elements `start .. stop` of the C order into regions that follow one another."""
    if start >= stop:
        return
    if not shape:
        yield ()
        return
    row = math.prod(shape[1:])
    first, last = start // row, (stop - 1) // row
    if first == last:
        for rest in run_of(shape[1:], start - first * row, stop - first * row):
            yield ((first, first + 1), *rest)
        return
    if start % row:
        yield from run_of(shape, start, (first + 1) * row)
        first += 1
    whole = stop // row
    if whole > first:
        yield ((first, whole), *((0, size) for size in shape[1:]))
    if stop % row:
        yield from run_of(shape, whole * row, stop)


def basic_index(index: Any, shape: tuple[int, ...]) -> tuple[Region, tuple[Any, ...]]:
    """Turn a basic index into the region to read and the index to apply to what was read."""
    items = list(index) if isinstance(index, tuple) else [index]
    if not all(map(_is_basic, items)):
        raise IndexError("only integers, slices and ... select from an array on disk; read() it for more")
    if items.count(Ellipsis) > 1:
        raise IndexError("an index has one ... at most")
    if Ellipsis in items:
        at = items.index(Ellipsis)
        items[at : at + 1] = [slice(None)] * (len(shape) - len(items) + 1)
    items += [slice(None)] * (len(shape) - len(items))
    if len(items) != len(shape):
        raise IndexError(f"{len(items)} indices for an array of {len(shape)} dimensions")
    region: list[tuple[int, int]] = []
    finish: list[Any] = []
    for axis, (item, size) in enumerate(zip(items, shape, strict=True)):
        if isinstance(item, slice):
            chosen = range(*item.indices(size))
            low, high = (min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1]) + 1) if chosen else (0, 0)
            region.append((low, high))
            finish.append(slice(None, None, chosen.step) if chosen else slice(0, 0))
        else:
            position = operator.index(item)
            if not -size <= position < size:
                raise IndexError(f"index {position} is out of bounds for axis {axis} with size {size}")
            at = range(size)[position]
            region.append((at, at + 1))
            finish.append(0)
    return tuple(region), tuple(finish)


def _is_basic(item: Any) -> bool:
    if isinstance(item, (bool, np.ndarray)):
        return False
    return item is Ellipsis or isinstance(item, (slice, SupportsIndex))
