"""Which axes of a tensor stay whole: a rule that looks at it as such can follow any order of them, and in them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ckpt_core.arrays import LazyArray
from ckpt_core.transfer.ops import Cast, Op, Reshape, Transpose

__all__ = ["averages_through", "stay_whole"]

Axis = tuple[tuple[int, int], ...]
"""What an axis is made of, from the outside in: axes of the source, or factors of one, each with its size."""


def stay_whole(ops: Sequence[Op], shape: tuple[int, ...]) -> bool:
    """Say whether ops change the order of the axes, and of what is in one, and nothing else.

    Arguments:
        ops: what a tensor goes through.
        shape: its shape before.

    Example:
        >>> flattened = (Reshape((3, 6, 3, 2)), Transpose((2, 3, 1, 0)), Reshape((36, 3)))
        >>> stay_whole(flattened, (3, 36)), stay_whole((Reshape((3, 6, 6)),), (3, 36))
        (True, False)
    """
    return _trail(ops, shape) is not None


def averages_through(ops: Sequence[Op], shape: tuple[int, ...], array: LazyArray) -> LazyArray:
    """Return what a tensor is averaged to over some axes, moved as the tensor is.

    Arguments:
        ops: what the tensor goes through, its axes whole.
        shape: the tensor's shape before.
        array: the averages, of size 1 along the axes that they are over.
    """
    kept = {axis for axis, size in enumerate(array.shape) if size != 1}
    for op, axes in zip(ops, _trail(ops, shape) or (), strict=True):
        if isinstance(op, Reshape):
            sizes = tuple(math.prod(size for axis, size in parts if axis in kept) for parts in axes)
            (array,) = Reshape(sizes).apply((array,))
        elif isinstance(op, Transpose):
            (array,) = op.apply((array,))
    return array


def _trail(ops: Sequence[Op], shape: tuple[int, ...]) -> list[tuple[Axis, ...]] | None:
    """What the axes are made of after each op; None where they do not stay whole."""
    axes: tuple[Axis, ...] = tuple(((axis, size),) for axis, size in enumerate(shape))
    trail = []
    for op in ops:
        after: tuple[Axis, ...] | None = None
        if isinstance(op, Transpose):
            order = op.axes or tuple(reversed(range(len(axes))))
            after = tuple(axes[axis] for axis in order)
        elif isinstance(op, Reshape):
            after = _reshaped(axes, op.shape)
        elif isinstance(op, Cast):
            after = axes
        if after is None:
            return None
        axes = after
        trail.append(axes)
    owners = [{axis for axis, size in parts if size != 1} for parts in axes]
    owned = [axis for owner in owners for axis in owner]
    return trail if all(len(owner) < 2 for owner in owners) and len(set(owned)) == len(owned) else None


def _reshaped(axes: tuple[Axis, ...], shape: Sequence[int]) -> tuple[Axis, ...] | None:
    """The axes of a reshape: each takes factors in order, and divides the last one where it ends within it."""
    sizes = list(shape)
    total = math.prod(size for parts in axes for _, size in parts)
    if not total:
        return None
    if -1 in sizes:
        sizes[sizes.index(-1)] = total // -math.prod(sizes)
    left = [part for parts in axes for part in parts if part[1] != 1]
    made = []
    for size in sizes:
        parts, missing = [], size
        while missing > 1 and left:
            axis, there = left.pop(0)
            taken = min(there, missing)
            if there % taken or missing % taken:
                return None  # it ends within a factor
            parts.append((axis, taken))
            missing //= taken
            if taken < there:
                left.insert(0, (axis, there // taken))
        made.append(tuple(parts))
    return tuple(made)
