"""Leaves that pmap replicated: the same values once for each device, along a leading dimension."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UsageError
from ckpt_core.tree import KeyPath, map_with_path, render_path

__all__ = ["count_of", "first_copies"]


def count_of(step: Any, weights: Iterable[LazyArray]) -> int | None:
    """Return the leading dimension that a step and all weights share, or None where they do not."""
    if not isinstance(step, LazyArray) or step.ndim != 1 or step.shape[0] < 1:
        return None
    count = step.shape[0]
    arrays = list(weights)
    return count if arrays and all(array.shape[:1] == (count,) for array in arrays) else None


def first_copies(tree: Any, count: int, path: str = "") -> Any:
    """Return the tree with the first copy of each replicated leaf.

    Raises:
        UsageError: the copies of a leaf differ; names it.
    """

    def first(place: KeyPath, leaf: Any) -> Any:
        if not isinstance(leaf, LazyArray) or leaf.shape[:1] != (count,):
            return leaf
        one = leaf[0]
        bits = one.tobytes()
        if any(leaf[i].tobytes() != bits for i in range(1, count)):
            raise UsageError(f"the copies of {render_path(place)} differ", path=path or None)
        return LazyArray.from_numpy(np.asarray(one))

    return map_with_path(first, tree)
