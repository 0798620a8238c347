"""Which storages a file gets: arrays that share bytes share a storage, and no bytes are written for nobody."""

from __future__ import annotations

import bisect
from typing import Any, Final, NamedTuple

from ckpt_core.arrays import LazyArray, contiguous_strides
from ckpt_core.dtypes import ITEMSIZE
from ckpt_core.storage import Storage
from ckpt_core.tree import children

__all__ = ["Block", "Placed", "place"]

_SPARSE: Final = 2
"""Views that together use less than 1/_SPARSE of the bytes between them keep only what overlaps together."""


class Block:
    """Bytes that become one storage.

    Arguments:
        data: the bytes, as an array.
        dtype: the dtype of all arrays in it, or None where they differ.
    """

    __slots__ = ("data", "dtype", "key")

    def __init__(self, data: LazyArray, dtype: str | None) -> None:
        self.data = data
        self.dtype = dtype
        self.key: str | None = None


class Placed(NamedTuple):
    """Where an array lies in a block; offset and strides count elements."""

    block: Block
    offset: int
    strides: tuple[int, ...]


class _View(NamedTuple):
    low: int
    high: int
    array: LazyArray


def place(tree: Any) -> dict[int, Placed]:
    """Return where each array of a tree goes, by its `id`."""
    placed: dict[int, Placed] = {}
    groups: dict[int, list[_View]] = {}
    storages: list[Storage] = []
    for array in _arrays(tree):
        view = _view(array)
        if view is None:
            placed[id(array)] = _alone(array)
            continue
        group = groups.setdefault(id(array.pieces[0].storage), [])
        if not group:
            storages.append(array.pieces[0].storage)
        group.append(view)
    for storage, group in zip(storages, groups.values(), strict=True):
        for cluster in _clusters(group):
            _place_cluster(storage, cluster, placed)
    return placed


def _arrays(tree: Any) -> list[LazyArray]:
    """Return the distinct arrays of a tree, whose containers may be shared or cyclic."""
    found: dict[int, LazyArray] = {}
    seen: set[int] = set()
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, LazyArray):
            found.setdefault(id(node), node)
            continue
        if id(node) not in seen:  # asked first: a container may stand in itself very many times
            pairs = children(node)
            if pairs:
                seen.add(id(node))
                stack.extend([child for _, child in reversed(pairs)])
    return list(found.values())


def _view(array: LazyArray) -> _View | None:
    """Return the bytes that an array lies in, or None where torch has no such view of a storage."""
    if len(array.pieces) != 1 or not array.size:
        return None
    _, offset, strides, _ = array.pieces[0]
    if strides is None:
        return _View(offset, offset + array.nbytes, array)
    width = ITEMSIZE[array.dtype]
    if any(step < 0 or step % width for step in strides):
        return None
    span = sum((size - 1) * step for size, step in zip(array.shape, strides, strict=True)) + width
    return _View(offset, offset + span, array)


def _clusters(views: list[_View]) -> list[list[_View]]:
    """Cut the views of one storage into those that stay together.

    Views that use most of what they span decide; one with large strides joins them where it lies within them.
    """
    if len(views) == 1:
        return [views]
    dense = [view for view in views if view.array.nbytes * _SPARSE >= view.high - view.low]
    clusters: list[list[_View]] = []
    reach = covered = 0
    for view in sorted(dense, key=lambda view: view[:2]):
        if clusters and view.low < reach:
            clusters[-1].append(view)
            covered += max(view.high - reach, 0)
        else:
            clusters.append([view])
            covered += view.high - view.low
        reach = max(reach, view.high)
    if clusters and covered * _SPARSE >= reach - clusters[0][0].low:
        clusters = [[view for cluster in clusters for view in cluster]]
    if len(dense) < len(views):
        _add_sparse([view for view in views if view.array.nbytes * _SPARSE < view.high - view.low], clusters)
    return clusters


def _add_sparse(views: list[_View], clusters: list[list[_View]]) -> None:
    lows = [cluster[0].low for cluster in clusters]
    highs = [max(view.high for view in cluster) for cluster in clusters]
    alone: dict[Any, list[_View]] = {}
    for view in views:
        index = bisect.bisect_right(lows, view.low) - 1
        if index >= 0 and view.high <= highs[index]:
            clusters[index].append(view)
        else:
            alone.setdefault(view.array.identity, []).append(view)
    clusters += alone.values()


def _place_cluster(storage: Storage, views: list[_View], placed: dict[int, Placed]) -> None:
    low = views[0].low
    high = max(view.high for view in views)
    first = views[0].array
    dtype = first.dtype if all(view.array.dtype == first.dtype for view in views) else None
    aligned = all((view.low - low) % ITEMSIZE[view.array.dtype] == 0 for view in views)
    is_one = all(view.array.identity == first.identity for view in views)
    if not aligned or (is_one and high - low > first.nbytes):
        made: dict[Any, Placed] = {}
        for _, _, array in views:
            if array.identity not in made:
                made[array.identity] = _alone(array)
            placed[id(array)] = made[array.identity]
        return
    block = Block(LazyArray((high - low,), "uint8", storage, low), dtype)
    for start, _, array in views:
        width = ITEMSIZE[array.dtype]
        strides = array.pieces[0].strides
        steps = _contiguous(array.shape) if strides is None else tuple([step // width for step in strides])
        placed[id(array)] = Placed(block, (start - low) // width, steps)


def _alone(array: LazyArray) -> Placed:
    """Place an array in a storage of its own, in C order."""
    return Placed(Block(array, array.dtype), 0, _contiguous(array.shape))


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    return contiguous_strides(tuple([max(size, 1) for size in shape]), 1)
