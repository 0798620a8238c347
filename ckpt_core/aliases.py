"""What stands behind an alias: a container that a tree holds in several places is there once."""

from __future__ import annotations

from typing import Any, Final

from ckpt_core.errors import LimitError
from ckpt_core.keypath import KeyPath, render_path
from ckpt_core.tree import MAX_DEPTH, Alias, Key, Tree, children, get, map_with_path, rebuild, walk

__all__ = ["MAX_UNFOLDED", "moved_below", "resolved", "spelled_out", "unshare"]

MAX_UNFOLDED: Final = 200_000
"""Nodes in shared containers that are met again while weights are named, or a part is read on its own."""


def unshare(tree: Tree) -> Tree:
    """Turn a graph into a tree: a container met again becomes an Alias of its first place.

    Short tuples of plain values are shared by picklers for economy and stay as they are. Containers are
    changed in place, tuples are made anew.

    Raises:
        LimitError: the graph is nested deeper than MAX_DEPTH.
    """
    first: dict[int, KeyPath] = {}
    shared = False
    stack: list[tuple[KeyPath, Tree]] = [((), tree)]
    while stack:
        path, node = stack.pop()
        if id(node) in first:
            shared = True
            continue
        pairs = children(node)
        if not pairs or _is_plain_tuple(node):
            continue
        first[id(node)] = path
        if len(path) >= MAX_DEPTH:
            raise LimitError(f"nested deeper than {MAX_DEPTH} levels", place=render_path(path[:4]) + "/...")
        stack.extend([((*path, key), child) for key, child in reversed(pairs)])
    return _with_aliases(tree, first) if shared else tree


def moved_below(tree: Tree, path: KeyPath) -> Tree:
    """Return a tree as it is at a path of another: what stands elsewhere in it is found from that one's top."""
    if not any(isinstance(node, Alias) for _, node in walk(tree)):
        return tree
    return map_with_path(
        lambda _, leaf: Alias((*path, *leaf.path)) if isinstance(leaf, Alias) else leaf, tree
    )


def _is_plain_tuple(node: Tree) -> bool:
    if not isinstance(node, tuple) or len(node) > 16:
        return False
    return not any([isinstance(child, (dict, list, tuple)) for child in node])


def _with_aliases(tree: Tree, first: dict[int, KeyPath]) -> Tree:
    done: list[tuple[Key, Tree]] = []
    stack: list[Any] = [((), tree, done, None)]
    while stack:
        path, node, into, built = stack.pop()
        key = path[-1] if path else None
        if built is not None:
            into.append((key, rebuild(node, built)))
            continue
        home = first.get(id(node))
        pairs = children(node) if home == path else None
        if home is not None and home != path:
            into.append((key, Alias(home)))
        elif pairs is None:
            into.append((key, node))
        else:
            collected: list[tuple[Key, Tree]] = []
            stack.append((path, node, into, collected))
            stack.extend([((*path, k), child, collected, None) for k, child in reversed(pairs)])
    return done[0][1]


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
