"""Which arrays of a tree are one: at several paths themselves, or in a container that stands at several paths."""

from __future__ import annotations

from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.tree import Alias, KeyPath, flatten

__all__ = ["ties_of"]

_MAX_PATHS: Final = 100_000
"""Paths through shared containers that are listed."""


def ties_of(tree: Any) -> list[tuple[KeyPath, ...]]:
    """Return groups of paths whose arrays share all their bytes, in the order of their first paths."""
    leaves = flatten(tree)
    aliases = [(path, leaf.path) for path, leaf in leaves if isinstance(leaf, Alias)]
    targets = {target for _, target in aliases}
    below: dict[KeyPath, list[tuple[KeyPath, Any]]] = {}
    same: dict[Any, list[KeyPath]] = {}
    for path, leaf in leaves:
        if not isinstance(leaf, LazyArray) or not leaf.nbytes or leaf.identity is None:
            continue
        same.setdefault(leaf.identity, []).append(path)
        for depth in range(len(path)) if targets else ():
            if path[:depth] in targets:
                below.setdefault(path[:depth], []).append((path[depth:], leaf.identity))
    listed = 0
    for path, target in aliases:
        if path[: len(target)] == target:  # a container that holds itself
            continue
        for rest, identity in below.get(target, ()):
            listed += 1
            if listed <= _MAX_PATHS:
                same[identity].append((*path, *rest))
    return [tuple(paths) for paths in same.values() if len(paths) > 1]
