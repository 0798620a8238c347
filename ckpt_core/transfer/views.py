"""Arrays made of other arrays without copying: transposed, flipped, sliced, joined, reshaped.

A view of pieces is again pieces: only regions, offsets and strides change. Where strides cannot say it (a reshape
across a transposed border), and where elements change (a sum), the result is a storage that computes its bytes from
the source as they are read, block by block.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from ckpt_core.arrays import LazyArray, Piece, contiguous_strides
from ckpt_core.dtypes import itemsize, to_numpy
from ckpt_core.regions import Region
from ckpt_core.storage import BLOCK, Storage

__all__ = [
    "added",
    "filled",
    "flipped",
    "independent",
    "joined",
    "laid_over",
    "reshaped",
    "sliced",
    "stacked",
    "transposed",
    "without_axis",
]


def transposed(array: LazyArray, axes: Sequence[int]) -> LazyArray:
    """Return the array with its axes in another order, as `numpy.transpose` does."""
    return _made(
        tuple(array.shape[axis] for axis in axes),
        array.dtype,
        [
            Piece(
                storage, offset, tuple(strides[axis] for axis in axes), tuple(region[axis] for axis in axes)
            )
            for storage, offset, strides, region in _pieces(array)
        ],
    )


def flipped(array: LazyArray, axes: Sequence[int]) -> LazyArray:
    """Return the array with the order of its elements reversed along some axes, as `numpy.flip` does."""
    made = []
    for storage, offset, strides, region in _pieces(array):
        turned = list(zip(strides, region, strict=True))
        last = offset
        for axis in axes:
            step, (low, high) = turned[axis]
            last += (high - low - 1) * step
            turned[axis] = -step, (array.shape[axis] - high, array.shape[axis] - low)
        made.append(Piece(storage, last, tuple(s for s, _ in turned), tuple(r for _, r in turned)))
    return _made(array.shape, array.dtype, made)


def sliced(array: LazyArray, axis: int, start: int, stop: int) -> LazyArray:
    """Return the elements `start .. stop` along one axis."""
    made = []
    for storage, offset, strides, region in _pieces(array):
        low, high = region[axis]
        first, last = max(low, start), min(high, stop)
        if first < last:
            within = (*region[:axis], (first - start, last - start), *region[axis + 1 :])
            made.append(Piece(storage, offset + (first - low) * strides[axis], strides, within))
    shape = (*array.shape[:axis], stop - start, *array.shape[axis + 1 :])
    return _made(shape, array.dtype, made)


def joined(arrays: Sequence[LazyArray], axis: int) -> LazyArray:
    """Return arrays of one dtype one after another along an axis, as `numpy.concatenate` does."""
    made = []
    start = 0
    for array in arrays:
        for storage, offset, strides, region in _pieces(array):
            low, high = region[axis]
            within = (*region[:axis], (low + start, high + start), *region[axis + 1 :])
            made.append(Piece(storage, offset, strides, within))
        start += array.shape[axis]
    shape = (*arrays[0].shape[:axis], start, *arrays[0].shape[axis + 1 :])
    return _made(shape, arrays[0].dtype, made)


def stacked(arrays: Sequence[LazyArray], axis: int) -> LazyArray:
    """Return arrays of one shape along a new axis, as `numpy.stack` does."""
    return joined([_with_axis(array, axis) for array in arrays], axis)


def _with_axis(array: LazyArray, axis: int) -> LazyArray:
    return _made(
        (*array.shape[:axis], 1, *array.shape[axis:]),
        array.dtype,
        [
            Piece(
                storage,
                offset,
                (*strides[:axis], itemsize(array.dtype), *strides[axis:]),
                (*region[:axis], (0, 1), *region[axis:]),
            )
            for storage, offset, strides, region in _pieces(array)
        ],
    )


def reshaped(array: LazyArray, shape: tuple[int, ...]) -> LazyArray:
    """Return the elements in C order in another shape of the same size."""
    if array.shape == shape:
        return array
    if len(array.pieces) == 1:
        storage, offset, strides, _ = array.pieces[0]
        if strides is None:
            return LazyArray(shape, array.dtype, storage, offset)
        fitting = _strides_of(array.shape, strides, shape)
        if fitting is not None:
            return LazyArray(shape, array.dtype, storage, offset, fitting)
    return LazyArray(shape, array.dtype, _Computed((array,), lambda parts: parts[0]))


def added(arrays: Sequence[LazyArray]) -> LazyArray:
    """Return the sum of arrays of one shape and dtype, added in that dtype from first to last."""

    def total(parts: list[np.ndarray]) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(sum(parts[1:], start=parts[0]), parts[0].dtype)

    return LazyArray(arrays[0].shape, arrays[0].dtype, _Computed(tuple(arrays), total))


def filled(shape: tuple[int, ...], dtype: str, value: complex) -> LazyArray:
    """Return an array of one value, which takes no memory."""
    element = np.array(value).astype(to_numpy(dtype)).tobytes()
    return LazyArray(shape, dtype, _Filled(math.prod(shape), element))


def laid_over(array: LazyArray, below: LazyArray) -> LazyArray:
    """Return `below` with `array` laid over its beginning along every axis, cut where it reaches beyond."""
    for axis, size in enumerate(below.shape):
        array = sliced(array, axis, 0, min(size, array.shape[axis]))
    parts = [array]
    kept = array.shape
    for axis, size in enumerate(below.shape):
        # what lies beyond along this axis, inside along the next
        rest = sliced(below, axis, kept[axis], size)
        for later in range(axis + 1, len(kept)):
            rest = sliced(rest, later, 0, kept[later])
        parts = [joined([*parts, rest], axis)] if rest.size else parts
    return parts[0]


def without_axis(array: LazyArray, axis: int) -> LazyArray:
    """Return the array without an axis of size 1."""
    return _made(
        (*array.shape[:axis], *array.shape[axis + 1 :]),
        array.dtype,
        [
            Piece(storage, offset, _without(strides, axis), _without(region, axis))
            for storage, offset, strides, region in _pieces(array)
        ],
    )


def independent(array: LazyArray) -> LazyArray:
    """Return the same elements as an array of its own, which no writer takes for tied with the first."""
    copies: dict[int, Storage] = {}
    for storage, *_ in array.pieces:
        copies.setdefault(id(storage), copy.copy(storage))
    pieces = [
        Piece(copies[id(storage)], offset, strides, region)
        for storage, offset, strides, region in _pieces(array)
    ]
    return _made(array.shape, array.dtype, pieces)


# Pieces.


_Window = tuple[Storage, int, tuple[int, ...], Region]


def _pieces(array: LazyArray) -> list[_Window]:
    """The pieces with strides and region spelled out; those that hold nothing are left out."""
    found = []
    for storage, offset, strides, part in array.pieces:
        region = part if part is not None else tuple((0, size) for size in array.shape)
        extent = tuple(high - low for low, high in region)
        if 0 not in extent:
            steps = strides if strides is not None else contiguous_strides(extent, itemsize(array.dtype))
            found.append((storage, offset, steps, region))
    return found


def _made(shape: tuple[int, ...], dtype: str, pieces: list[Piece]) -> LazyArray:
    if len(pieces) == 1:
        storage, offset, strides, _ = pieces[0]
        return LazyArray(shape, dtype, storage, offset, strides)
    return LazyArray.from_pieces(shape, dtype, pieces)


_Items = TypeVar("_Items", bound=tuple[Any, ...])


def _without(items: _Items, axis: int) -> _Items:
    return (*items[:axis], *items[axis + 1 :])  # type: ignore[return-value]  # the same kind, one fewer


def _strides_of(
    shape: tuple[int, ...], strides: tuple[int, ...], wanted: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Return the strides of the same elements in another shape; None where strides cannot say it.

    The axes of both are matched in groups of equal size; a group of the old ones must be evenly spaced.
    """
    old = [(size, step) for size, step in zip(shape, strides, strict=True) if size != 1]
    made: list[int] = []
    at = 0
    axes = list(wanted)
    while axes:
        if axes[0] == 1:
            made.append(0)
            axes.pop(0)
            continue
        group, total, new = [], 1, [axes.pop(0)]
        count = new[0]
        while total != count:
            if total < count:
                group.append(old[at])
                total *= old[at][0]
                at += 1
            else:
                new.append(axes.pop(0))
                count *= new[-1]
        if any(a[1] != b[0] * b[1] for a, b in itertools.pairwise(group)):
            return None
        made += contiguous_strides(tuple(new), group[-1][1])
    return tuple(made)


# Elements that are computed.


class _Computed(Storage):
    """Elements in C order, computed from those of other arrays at the same places."""

    __slots__ = ("arrays", "function", "width")

    def __init__(
        self, arrays: tuple[LazyArray, ...], function: Callable[[list[np.ndarray]], np.ndarray]
    ) -> None:
        self.arrays = arrays
        self.function = function
        self.width = itemsize(arrays[0].dtype)
        self.nbytes = arrays[0].nbytes

    def verify(self) -> None:
        for array in self.arrays:
            array.verify()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            first, skip = divmod(offset + done, self.width)
            count = min(BLOCK, -(-(skip + len(buffer) - done) // self.width))
            values = self.function([array.elements(first, first + count) for array in self.arrays])
            part = values.view(np.uint8).data[skip : skip + len(buffer) - done]
            buffer[done : done + len(part)] = part
            done += len(part)


class _Filled(Storage):
    """One element, again and again."""

    __slots__ = ("element",)

    def __init__(self, count: int, element: bytes) -> None:
        self.element = element
        self.nbytes = count * len(element)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        skip = offset % len(self.element)
        times = -(-(skip + len(buffer)) // len(self.element))
        buffer[:] = (self.element * times)[skip : skip + len(buffer)]
