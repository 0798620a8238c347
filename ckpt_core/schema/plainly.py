"""Settings, metrics and counters as plain data, whatever objects they were saved as."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np

from ckpt_core.aliases import resolved
from ckpt_core.arrays import LazyArray
from ckpt_core.layouts.values import MAX_LISTED, number, value_of
from ckpt_core.schema.objects import content_of
from ckpt_core.tree import Alias, Global, KeyPath, Record, get, map_with_path, rebuild, transform, walk

__all__ = ["as_plain", "counter", "listed", "spread", "written_counter"]


_MAX_REPEATED: Final = 1000
"""Nodes of a shared container that are written out again where it is met again."""

_MAX_DIGITS: Final = 19
"""Digits from which on a text is no counter."""


def as_plain(node: Any, tree: Any = None) -> Any:
    """Return plain data: objects as what they hold (`objects.py`), members of an enum as values, numbers as Python's.

    Arguments:
        node: what was saved.
        tree: the tree that it stands in, where shared containers are written out in each of their places.
    """
    if type(node) is list and all([type(item) in (int, float) for item in node]):
        return list(node)  # the losses of every step can be very many

    def leaf(_: KeyPath, value: Any) -> Any:
        if isinstance(value, Alias) and tree is not None:
            return as_plain(_repeated(tree, value))
        if isinstance(value, Global):  # a function, a class, a dtype
            return value.name
        return number(value) if isinstance(value, (np.generic, LazyArray)) and _is_single(value) else value

    def close(node: Any, pairs: list[tuple[Any, Any]]) -> Any:
        built = rebuild(node, pairs)
        return content_of(built, resolved(tree, built.args)) if isinstance(built, Record) else built

    return transform(node, leaf, close)


def listed(node: Any) -> Any:
    """Return settings with the small arrays among them as lists; their bytes are read."""

    def leaf(_: KeyPath, value: Any) -> Any:
        return value.read().tolist() if isinstance(value, LazyArray) and value.size <= MAX_LISTED else value

    return map_with_path(leaf, node)


def _repeated(tree: Any, alias: Alias) -> Any:
    """What an alias stands for, unless it is large or leads on to others."""
    target = get(tree, alias.path)
    for count, (_, node) in enumerate(walk(target)):
        if isinstance(node, Alias) or count > _MAX_REPEATED:
            return alias
    return target


def _is_single(value: Any) -> bool:
    return isinstance(value, np.generic) or value.shape == ()


def spread(values: Mapping[str, Any], groups: Collection[str]) -> Mapping[str, Any]:
    """Put the entries of groups beside the other values, unless two would have one name."""
    names = [key for name, value in values.items() for key in (value if name in groups else (name,))]
    if len(set(names)) < len(names):
        return values
    found: dict[str, Any] = {}
    for name, value in values.items():
        found.update(value if name in groups else {name: value})
    return found


def counter(value: Any) -> int | None:
    """Return a step or epoch as an int; a replicated one is its first copy."""
    value = value_of(value)
    if isinstance(value, LazyArray) and value.ndim == 1 and value.shape[0] >= 1:
        value = value[0]
    value = number(value)
    if isinstance(value, (float, np.integer, np.floating)):
        return int(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, int) else None  # of any length


def written_counter(value: Any) -> int | None:
    """Return a step or epoch from a container's metadata, where some formats hold texts alone."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < _MAX_DIGITS else None
    return value if type(value) is int else None
