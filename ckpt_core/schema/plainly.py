"""Settings, metrics and counters as plain data, whatever objects they were saved as."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np

from ckpt_core.aliases import resolved
from ckpt_core.arrays import LazyArray
from ckpt_core.layouts.values import number
from ckpt_core.tree import Alias, KeyPath, Record, get, map_with_path, plain, rebuild, transform, walk

__all__ = ["as_plain", "counter", "omegaconf_content", "spread", "written_counter"]


_MAX_REPEATED: Final = 1000
"""Nodes of a shared container that are written out again where it is met again."""

_MAX_DIGITS: Final = 19
"""Digits from which on a text is no counter."""


def as_plain(node: Any, tree: Any = None) -> Any:
    """Return plain data: objects as dicts of their fields, members of an enum as their values, numbers as Python's.

    Arguments:
        node: what was saved.
        tree: the tree that it stands in, where shared containers are written out in each of their places.
    """

    def leaf(_: KeyPath, value: Any) -> Any:
        if isinstance(value, Alias) and tree is not None:
            return as_plain(_repeated(tree, value))
        return number(value) if isinstance(value, (np.generic, LazyArray)) and _is_single(value) else value

    content = omegaconf_content(node) if _is_omegaconf(node) else node
    return map_with_path(leaf, plain(_values(content, tree)))


def _repeated(tree: Any, alias: Alias) -> Any:
    """What an alias stands for, unless it is large or leads on to others."""
    target = get(tree, alias.path)
    for count, (_, node) in enumerate(walk(target)):
        if isinstance(node, Alias) or count > _MAX_REPEATED:
            return alias
    return target


def _values(node: Any, tree: Any) -> Any:
    """What was saved as a class and one value, such as a member of an enum, as that value."""

    def close(node: Any, pairs: list[tuple[Any, Any]]) -> Any:
        built = rebuild(node, pairs)
        if not isinstance(built, Record) or built or built.state is not None or built.appended is not None:
            return built
        args = resolved(tree, built.args)
        return args[0] if isinstance(args, tuple) and len(args) == 1 else built

    return transform(node, lambda _, leaf: leaf, close)


def _is_single(value: Any) -> bool:
    return isinstance(value, np.generic) or value.shape == ()


def _is_omegaconf(node: Any) -> bool:
    return isinstance(node, Record) and node.type_name.startswith("omegaconf.")


def omegaconf_content(node: Any) -> Any:
    """Return what an OmegaConf container or value node holds, as plain data."""
    if isinstance(node, Record) and _is_omegaconf(node):
        if "_content" in node:
            return omegaconf_content(node["_content"])
        if "_val" in node:
            return omegaconf_content(node["_val"])
        return dict(node)
    if isinstance(node, dict):
        return {key: omegaconf_content(child) for key, child in node.items()}
    if isinstance(node, (list, tuple)):
        return [omegaconf_content(child) for child in node]
    return node


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
    if isinstance(value, Mapping) and set(value) == {"value"}:
        value = value["value"]
    if isinstance(value, LazyArray) and value.ndim == 1 and value.shape[0] >= 1:
        value = value[0]
    value = number(value)
    return int(value) if isinstance(value, (int, float, np.number)) and np.isfinite(value) else None


def written_counter(value: Any) -> int | None:
    """Return a step or epoch from a container's metadata, where some formats hold texts alone."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < _MAX_DIGITS else None
    return value if type(value) is int else None
