"""Strided windows: reading the elements of one from a storage, in runs that are worth a read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ckpt_core.storage import Storage

__all__ = ["STRIDED_TILE", "TILE", "contiguous_strides", "copy_blocked", "is_in_order", "read_strided"]

TILE: Final = 8 << 20
"""Bytes of an array that are in memory at a time while it streams."""

STRIDED_TILE: Final = 24 << 20
"""The same where the order of elements changes: each tile walks through all of the source, so there are fewer."""

_WINDOW: Final = 2 << 20
"""Bytes of a storage that are read at a time when elements are picked from them."""

_GAP: Final = 32 << 10
"""Bytes between two runs up to which reading on is cheaper than a read of its own."""

_LINE: Final = 64
"""Bytes of a cache line."""

_WORTH_BLOCKS: Final = 64 << 10
_DOWN, _ACROSS = 256, 64
"""Elements of a block along the rows of what is written, and of what is read; measured."""


def contiguous_strides(shape: tuple[int, ...], width: int) -> tuple[int, ...]:
    """Return the strides, in bytes, of a C-ordered array with elements of `width` bytes."""
    strides = []
    step = width
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def read_strided(storage: Storage, start: int, out: np.ndarray, strides: Sequence[int]) -> None:
    """Fill `out` with the elements at `start + index . strides`, reading runs that are worth it.

    What is not one run is halved along the axis of the largest stride until a window of it is small enough to be
    read as it lies, gaps included, and picked from. Gaps are read over as long as that costs less than reads of
    their own.
    """
    axes = [axis for axis, size in enumerate(out.shape) if size > 1]
    low = start + sum(min((out.shape[axis] - 1) * strides[axis], 0) for axis in axes)
    span = sum((out.shape[axis] - 1) * abs(strides[axis]) for axis in axes) + out.itemsize
    if span == out.nbytes and out.flags.c_contiguous and _descends(out.shape, strides, out.itemsize):
        storage.read_into(start, out.reshape(-1).view(np.uint8).data)
        return
    axis = max(axes, key=lambda axis: abs(strides[axis]), default=0)
    is_dense = span <= 2 * out.nbytes or (axes and abs(strides[axis]) <= _GAP)
    if not axes or (span <= _WINDOW and is_dense):
        data = np.frombuffer(storage.read(low, span), np.uint8)
        copy_blocked(out, np.ndarray(out.shape, out.dtype, data, start - low, tuple(strides)))
        return
    if strides[axis] == 0:
        first = tuple(slice(0, 1) if a == axis else slice(None) for a in range(out.ndim))
        read_strided(storage, start, out[first], strides)
        out[...] = out[first]
        return
    half = out.shape[axis] // 2
    lower = tuple(slice(0, half) if a == axis else slice(None) for a in range(out.ndim))
    upper = tuple(slice(half, None) if a == axis else slice(None) for a in range(out.ndim))
    read_strided(storage, start, out[lower], strides)
    read_strided(storage, start + half * strides[axis], out[upper], strides)


def copy_blocked(out: np.ndarray, source: np.ndarray) -> None:
    """Do `out[...] = source`, block by block where the two lie in different orders.

    numpy walks through a copy in the order of one side; the other then touches a cache line per element, and comes
    back to it when it is long gone. Rows a power of two apart make that worse: they share a few lines of the cache,
    so `source` is laid out anew, with rows a line longer, first.
    """
    inner, other = _innermost(out), _innermost(source)
    if inner is None or other is None or inner == other or out.nbytes <= _WORTH_BLOCKS:
        out[...] = source
        return
    source = _with_longer_rows(source)
    block: list[slice] = [slice(None)] * out.ndim
    for low in range(0, out.shape[inner], _DOWN):
        block[inner] = slice(low, low + _DOWN)
        for left in range(0, out.shape[other], _ACROSS):
            block[other] = slice(left, left + _ACROSS)
            out[tuple(block)] = source[tuple(block)]


def _with_longer_rows(source: np.ndarray) -> np.ndarray:
    """A copy in the same order of axes whose rows end a cache line later."""
    order = sorted(range(source.ndim), key=lambda axis: -abs(source.strides[axis]))
    sizes = [source.shape[axis] for axis in order]
    room = np.empty((*sizes[:-1], sizes[-1] + max(_LINE // source.itemsize, 1)), source.dtype)
    copied: np.ndarray = room[..., : sizes[-1]].transpose([order.index(axis) for axis in range(source.ndim)])
    copied[...] = source
    return copied


def _innermost(array: np.ndarray) -> int | None:
    """The axis along which elements lie closest together."""
    axes = [axis for axis, size in enumerate(array.shape) if size > 1]
    return min(axes, key=lambda axis: abs(array.strides[axis]), default=None)


def is_in_order(shape: tuple[int, ...], strides: Sequence[int] | None) -> bool:
    """Say whether walking through a window in C order walks through its storage forwards."""
    steps = [step for size, step in zip(shape, strides or (), strict=False) if size > 1]
    return all(step > 0 for step in steps) and steps == sorted(steps, reverse=True)


def _descends(shape: tuple[int, ...], strides: Sequence[int], width: int) -> bool:
    contiguous = contiguous_strides(shape, width)
    return all(size <= 1 or a == b for size, a, b in zip(shape, strides, contiguous, strict=True))
