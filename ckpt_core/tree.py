"""Trees: the only place that walks them.

A tree is made of `dict`, `list`, `tuple` and `Record` (an object saved by its class, as inert data); everything
else is a leaf. Nothing here recurses, so depth costs no stack. Key paths are in `keypath.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ckpt_core.errors import LimitError, UsageError
from ckpt_core.keypath import Index, Key, KeyPath, Part, parse_path, render_key, render_path

__all__ = [
    "MAX_DEPTH",
    "Alias",
    "Global",
    "Index",
    "Key",
    "KeyPath",
    "Part",
    "Record",
    "children",
    "flatten",
    "get",
    "lookup",
    "map_with_path",
    "parse_path",
    "plain",
    "rebuild",
    "render_key",
    "render_path",
    "substitute",
    "transform",
    "unflatten",
    "walk",
]

MAX_DEPTH: Final = 500
"""Levels of nesting that a tree may have; a deeper one is refused as hostile."""

Tree = Any


class Record(dict[Any, Any]):
    """An object that was saved by its class, as inert data: nothing was imported and nothing was called.

    It is a dict of its fields: the attributes of a dataclass, Namespace or module, the fields of a known named
    tuple, the entries of a mapping. It hashes by identity.

    Arguments:
        type_name: the dotted name of the class or function, as the file gives it.
        fields: the named fields or entries.
        args: positional arguments of a construction whose meaning is not known.
        appended: what would have been appended to it, or None.
        state: what would have been restored into it besides the fields, or None.
    """

    __slots__ = ("appended", "args", "state", "type_name")

    def __init__(
        self,
        type_name: str,
        fields: Any = (),
        *,
        args: tuple[Any, ...] = (),
        appended: list[Any] | None = None,
        state: Any = None,
    ) -> None:
        super().__init__(fields)
        self.type_name = type_name
        self.args = args
        self.appended = appended
        self.state = state

    __hash__ = object.__hash__  # type: ignore[assignment]  # identity, where dict has None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Record):
            mine = (self.type_name, self.args, self.appended, self.state)
            if mine != (other.type_name, other.args, other.appended, other.state):
                return False
        elif self.args or self.appended is not None or self.state is not None:
            return False
        return dict.__eq__(self, other) is True

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        return f"<Record {self.type_name}: {', '.join(map(str, self)) or 'no fields'}>"


@dataclass(frozen=True, slots=True)
class Global:
    """A name that a file refers to (a class, a function, a dtype), never looked up."""

    name: str


@dataclass(frozen=True, slots=True)
class Alias:
    """A container that stands elsewhere in the tree already, at `path`."""

    path: KeyPath


# Walking.


def children(node: Tree) -> list[tuple[Key, Tree]] | None:
    """Return the (key, child) pairs of a container in order, or None for a leaf."""
    if isinstance(node, Record):
        pairs: list[tuple[Key, Tree]] = list(node.items())
        if node.args:
            pairs.append((Part("args"), node.args))
        if node.appended is not None:
            pairs.append((Part("appended"), node.appended))
        if node.state is not None:
            pairs.append((Part("state"), node.state))
        return pairs
    if isinstance(node, dict):
        return list(node.items())
    if isinstance(node, (list, tuple)):
        return [(Index(i), child) for i, child in enumerate(node)]
    return None


def rebuild(node: Tree, pairs: list[tuple[Key, Tree]]) -> Tree:
    """Return a container of the same kind as `node` with other children."""
    if isinstance(node, Record):
        parts = {key.name: child for key, child in pairs if isinstance(key, Part)}
        fields = [(key, child) for key, child in pairs if not isinstance(key, Part)]
        args = parts.get("args", ())
        return Record(
            node.type_name, fields, args=args, appended=parts.get("appended"), state=parts.get("state")
        )
    if isinstance(node, dict):
        return dict(pairs)
    values = [child for _, child in pairs]
    return tuple(values) if isinstance(node, tuple) else values


def walk(tree: Tree) -> Iterator[tuple[KeyPath, Tree]]:
    """Yield every node, containers before their children, in order.

    Raises:
        LimitError: the tree is nested deeper than MAX_DEPTH.
    """
    stack: list[tuple[KeyPath, Tree]] = [((), tree)]
    pop = stack.pop
    while stack:
        path, node = pop()
        yield path, node
        pairs = children(node)
        if pairs:
            if len(path) >= MAX_DEPTH:
                raise LimitError(
                    f"nested deeper than {MAX_DEPTH} levels", place=render_path(path[:4]) + "/..."
                )
            stack.extend([((*path, key), child) for key, child in reversed(pairs)])


def flatten(tree: Tree) -> list[tuple[KeyPath, Any]]:
    """Return the (key path, leaf) pairs in order; an empty container counts as a leaf."""
    return [(path, node) for path, node in walk(tree) if not children(node)]


def unflatten(pairs: Iterable[tuple[KeyPath, Any]]) -> Tree:
    """Build nested dicts and lists from (key path, leaf) pairs; positions make lists.

    Raises:
        UsageError: a path goes through a leaf, or the positions of a list are not 0, 1, 2, ...
    """
    box: dict[Key, Any] = {}
    branches: list[dict[Key, Any]] = []
    for path, leaf in pairs:
        node, full = box, (None, *path)
        for key in full[:-1]:
            if key not in node:
                node[key] = _Branch()
                branches.append(node[key])
            node = node[key]
            if not isinstance(node, _Branch):
                raise UsageError(f"{render_path(path)} goes through a leaf")
        if full[-1] in node:
            raise UsageError(f"{render_path(path)} is given twice")
        node[full[-1]] = leaf
    return map_with_path(lambda _, leaf: leaf, _listed(box.get(None, {})))


class _Branch(dict[Any, Any]):
    """A container under construction, told apart from leaves that are dicts."""


def _listed(tree: Tree) -> Tree:
    def close(node: Tree, pairs: list[tuple[Key, Tree]]) -> Tree:
        if not isinstance(node, _Branch):
            return rebuild(node, pairs)
        if any(isinstance(key, Index) for key, _ in pairs):
            if [key for key, _ in pairs] != list(range(len(pairs))):
                raise UsageError("the positions of a list are not 0, 1, 2, ...")
            return [child for _, child in pairs]
        return dict(pairs)

    return transform(tree, lambda _, leaf: leaf, close)


def map_with_path(function: Callable[[KeyPath, Any], Any], tree: Tree) -> Tree:
    """Return a tree of the same containers with `function(path, leaf)` for each leaf."""
    return transform(tree, function, rebuild)


def transform(
    tree: Tree,
    on_leaf: Callable[[KeyPath, Any], Any],
    on_close: Callable[[Tree, list[tuple[Key, Tree]]], Tree],
) -> Tree:
    """Rebuild a tree bottom-up without recursion.

    Arguments:
        tree: any tree.
        on_leaf: called with the path and the leaf; returns what stands in its place.
        on_close: called with a container and its (key, new child) pairs; returns the new container.
    """
    done: list[tuple[Key, Tree]] = []
    stack: list[tuple[KeyPath, Tree, list[tuple[Key, Tree]], list[tuple[Key, Tree]] | None]] = [
        ((), tree, done, None)
    ]
    while stack:
        path, node, into, built = stack.pop()
        key = path[-1] if path else None
        if built is not None:
            into.append((key, on_close(node, built)))
            continue
        pairs = children(node)
        if pairs is None:
            into.append((key, on_leaf(path, node)))
            continue
        if len(path) >= MAX_DEPTH:
            raise LimitError(f"nested deeper than {MAX_DEPTH} levels", place=render_path(path[:4]) + "/...")
        collected: list[tuple[Key, Tree]] = []
        stack.append((path, node, into, collected))
        stack.extend([((*path, k), child, collected, None) for k, child in reversed(pairs)])
    return done[0][1]


# Looking up.


def get(tree: Tree, path: KeyPath) -> Tree:
    """Return the node at a key path; raises KeyError with the rendered path where there is none."""
    node = tree
    for depth, key in enumerate(path):
        node = _step(node, key, path[: depth + 1])
    return node


def _step(node: Tree, key: Key, path: KeyPath) -> Tree:
    try:
        if isinstance(key, Part):
            if isinstance(node, Record):
                return {"args": node.args, "appended": node.appended, "state": node.state}[key.name]
        elif isinstance(key, Index):
            if isinstance(node, (list, tuple)):
                return node[key]
        elif isinstance(node, dict):
            return node[key]
    except (KeyError, IndexError, AttributeError):
        pass
    raise KeyError(render_path(path))


def lookup(tree: Tree, text: str) -> Tree:
    """Return the node at a rendered path; a bare number also finds a position or an integer key.

    Raises:
        KeyError: there is no such node; the message is the path up to where it fails.
    """
    node = tree
    path: KeyPath = ()
    for key in parse_path(text):
        options: list[Key] = [key]
        if isinstance(key, str) and re.fullmatch(r"-?\d{1,18}", key):
            options += [Index(key), int(key)]
        for option in options:
            try:
                node = _step(node, option, (*path, key))
                break
            except KeyError:
                continue
        else:
            raise KeyError(render_path((*path, key)))
        path = (*path, key)
    return node


def substitute(tree: Tree, path: KeyPath, value: Tree) -> Tree:
    """Return the tree with the node at `path` replaced; the containers on the way are made anew."""
    trail = [tree]
    for depth, key in enumerate(path):
        trail.append(_step(trail[-1], key, path[: depth + 1]))
    for node, key in zip(reversed(trail[:-1]), reversed(path), strict=True):
        value = rebuild(node, [(k, value if k == key else child) for k, child in children(node) or []])
    return value


# Plain data.


def plain(tree: Tree) -> Tree:
    """Return a tree with every Record as a plain dict of its fields (and `args`, `appended`, `state`)."""

    def close(node: Tree, pairs: list[tuple[Key, Tree]]) -> Tree:
        if isinstance(node, Record):
            return {key.name if isinstance(key, Part) else key: child for key, child in pairs}
        return rebuild(node, pairs)

    return transform(tree, lambda _, leaf: leaf, close)
