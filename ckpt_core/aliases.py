"""What stands behind an alias: a container that a tree holds in several places is there once."""

from __future__ import annotations

from typing import Any, Final

from ckpt_core.errors import LimitError
from ckpt_core.tree import Alias, Key, children, get, rebuild

__all__ = ["MAX_UNFOLDED", "resolved", "spelled_out"]

MAX_UNFOLDED: Final = 200_000
"""Nodes in shared containers that are met again while weights are named, or a part is read on its own."""


def resolved(tree: Any, node: Any) -> Any:
    """Return the container that an alias stands for; any other node, or an alias that leads nowhere, as it is."""
    for _ in range(10):
        if not isinstance(node, Alias):
            return node
        try:
            node = get(tree, node.path)
        except KeyError:  # a cycle, in a part that is read on its own
            return node
    return node


def spelled_out(tree: Any, part: Any) -> Any:
    """Return a part of a tree in which no alias leads out of it, so that it can be read on its own.

    A container in itself stays an alias.

    Arguments:
        tree: the whole tree.
        part: a node of it.

    Raises:
        LimitError: shared containers unfold without end.

    Example:
        >>> spelled_out({"params": {"w": 1}, "state": {"mu": Alias(("params",))}}, {"mu": Alias(("params",))})
        {'mu': {'w': 1}}
    """
    if not _has_alias(part):
        return part
    done: list[tuple[Key, Any]] = []
    stack: list[Any] = [(None, part, done, None, None, False)]
    unfolded = 0
    while stack:
        key, node, into, built, above, is_shared = stack.pop()
        if built is not None:
            into.append((key, rebuild(node, built)))
            continue
        found = resolved(tree, node)
        is_shared = is_shared or found is not node
        pairs = children(found)
        if not pairs or (is_shared and _is_above(above, found)):
            into.append((key, found if not pairs else node))
            continue
        unfolded += len(pairs) if is_shared else 0
        if unfolded > MAX_UNFOLDED:
            raise LimitError("shared containers unfold without end")
        collected: list[tuple[Key, Any]] = []
        stack.append((key, found, into, collected, above, is_shared))
        below = (found, above)
        stack.extend([(name, child, collected, None, below, is_shared) for name, child in reversed(pairs)])
    return done[0][1]


def _has_alias(part: Any) -> bool:
    stack = [part]
    while stack:
        node = stack.pop()
        if isinstance(node, Alias):
            return True
        stack.extend([child for _, child in children(node) or ()])
    return False


def _is_above(above: Any, node: Any) -> bool:
    while above is not None:
        if above[0] is node:
            return True
        above = above[1]
    return False
