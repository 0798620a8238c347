"""Weights by their joined names: what nesting them and walking that gives, for less."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ckpt_core.arrays import LazyArray
from ckpt_core.keypath import join_name
from ckpt_core.view import nest

__all__ = ["flat_names"]


def flat_names(pairs: Iterable[tuple[tuple[str, ...], LazyArray]]) -> list[tuple[str, LazyArray]]:
    """Return (name, array) for (segments, array) pairs, the segments joined by `/`, in their own order.

    Where two names are the same, or one is the beginning of another, they are the ones that `nest` gives.

    Example:
        >>> flat_names([(("a", "b/c"), LazyArray.from_numpy(np.zeros(2)))])
        [('a/b\\\\/c', LazyArray((2,), float64))]
    """
    pairs = list(pairs)
    names = [join_name(segments) for segments, _ in pairs]
    if _are_apart(names):
        return [(name, array) for name, (_, array) in zip(names, pairs, strict=True)]
    return nest(pairs).leaves()


def _are_apart(names: Collection[str]) -> bool:
    """Say whether all names differ and none is the beginning of another."""
    known = set(names)
    if len(known) < len(names) or "" in known:
        return False
    seen: set[str] = set()
    for name in names:
        above = name.rpartition("/")[0]
        while above and above not in seen:
            if above in known:
                return False
            seen.add(above)
            above = above.rpartition("/")[0]
    return True
