"""Arrays in decoded pieces that lie side by side: each piece is decoded once, and its rows go to their places.

A checkpoint that was saved over several devices has a piece per device, and those are often columns. Walking
through such an array row by row would decode every piece again for each few rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from ckpt_core.arrays import LazyArray, Piece
from ckpt_core.dtypes import itemsize
from ckpt_core.regions import Region
from ckpt_core.storage import DecodedStorage
from ckpt_core.strided import TILE, contiguous_strides

__all__ = ["is_scattered", "runs"]

_RUN: Final = 4 << 10
"""Bytes that are decoded in the time in which a run is written by itself; measured."""


def is_scattered(array: LazyArray) -> bool:
    """Say whether decoding the pieces of an array again for each tile costs more than to write run by run."""
    if len(array.pieces) < 2 or array.nbytes <= TILE:
        return False
    steps = contiguous_strides(array.shape, itemsize(array.dtype))
    count = again = 0
    for storage, _, _, region in array.pieces:
        if region is None or not isinstance(storage, DecodedStorage):
            continue
        run, size = _run(array, region), _size(region)
        count += size // max(run, 1)
        if run < size:
            span = sum((high - low - 1) * step for (low, high), step in zip(region, steps, strict=True))
            again += storage.nbytes * (span // TILE)
    return again > count * _RUN


def runs(array: LazyArray) -> Iterator[tuple[int, list[tuple[int, memoryview]]]]:
    """Yield all the bytes of a scattered array, piece by piece, in native byte order.

    Yields:
        A number of bytes, and these as runs: where in the array's bytes in C order each belongs, and the run.
    """
    for piece in array.pieces:
        if not _size(piece.region or ()):
            continue
        places = _places(array, piece.region or ())
        length = _run(array, piece.region or ()) * itemsize(array.dtype)
        at, tile = 0, memoryview(b"")
        for tile in _alone(array, piece).tiles():
            yield len(tile), list(_cut(tile, at, length, places))
            at += len(tile)
        del tile  # which holds the piece, while the next one is decoded


def _cut(tile: memoryview, at: int, length: int, places: np.ndarray) -> Iterator[tuple[int, memoryview]]:
    """Cut bytes from `at` on of a piece into runs of `length` bytes, the first and the last of which may be parts."""
    done = 0
    while done < len(tile):
        index, within = divmod(at + done, length)
        end = min(done + length - within, len(tile))
        yield int(places[index]) + within, tile[done:end]
        done = end


def _alone(array: LazyArray, piece: Piece) -> LazyArray:
    storage, offset, strides, region = piece
    return LazyArray(tuple(high - low for low, high in region or ()), array.dtype, storage, offset, strides)


def _run(array: LazyArray, region: Region) -> int:
    """Return how many elements of a region follow one another in the array."""
    count = 1
    for (low, high), size in zip(reversed(region), reversed(array.shape), strict=True):
        count *= high - low
        if high - low < size:
            break
    return count


def _size(region: Region) -> int:
    return math.prod(high - low for low, high in region)


def _places(array: LazyArray, region: Region) -> np.ndarray:
    """Return where each run of a region begins, in bytes from the beginning of the array."""
    steps = contiguous_strides(array.shape, itemsize(array.dtype))
    places = np.zeros(1, np.int64)
    count = _size(region) // _run(array, region)
    for (low, high), step in zip(region, steps, strict=True):
        if len(places) == count:
            places = places + low * step
        else:
            places = (places[:, None] + np.arange(low, high, dtype=np.int64) * step).reshape(-1)
    return places
