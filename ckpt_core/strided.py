"""Strided windows: reading the elements of one from a storage, in runs that are worth a read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ckpt_core.storage import BLOCK, Storage

__all__ = ["TILE", "contiguous_strides", "read_strided"]

TILE: Final = 8 << 20
"""Bytes of an array that are in memory at a time while it streams."""


def contiguous_strides(shape: tuple[int, ...], width: int) -> tuple[int, ...]:
    """Return the strides, in bytes, of a C-ordered array with elements of `width` bytes."""
    strides = []
    step = width
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def read_strided(storage: Storage, start: int, out: np.ndarray, strides: Sequence[int]) -> None:
    """Fill `out` with the elements at `start + index . strides`, reading runs that are worth it."""
    axes = [axis for axis, size in enumerate(out.shape) if size > 1]
    low = start + sum(min((out.shape[axis] - 1) * strides[axis], 0) for axis in axes)
    span = sum((out.shape[axis] - 1) * abs(strides[axis]) for axis in axes) + out.itemsize
    if span == out.nbytes and out.flags.c_contiguous and _descends(out.shape, strides, out.itemsize):
        storage.read_into(start, out.reshape(-1).view(np.uint8).data)
        return
    if (span <= max(2 * out.nbytes, BLOCK >> 4) and span <= 2 * TILE) or not axes:
        data = np.frombuffer(storage.read(low, span), np.uint8)
        source = np.ndarray(out.shape, out.dtype, data, start - low, tuple(strides))
        out[...] = source
        return
    axis = max(axes, key=lambda axis: abs(strides[axis]))
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


def _descends(shape: tuple[int, ...], strides: Sequence[int], width: int) -> bool:
    contiguous = contiguous_strides(shape, width)
    return all(size <= 1 or a == b for size, a, b in zip(shape, strides, contiguous, strict=True))
