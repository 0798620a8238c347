"""Settings, metrics and counters as plain data, whatever objects they were saved as."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.layouts.values import number
from ckpt_core.tree import KeyPath, Record, map_with_path, plain

__all__ = ["as_plain", "counter", "omegaconf_content", "spread"]


def as_plain(node: Any) -> Any:
    """Return plain data: objects as dicts of their fields, numpy and 0-d array scalars as Python numbers."""

    def leaf(_: KeyPath, value: Any) -> Any:
        return number(value) if isinstance(value, (np.generic, LazyArray)) and _is_single(value) else value

    return map_with_path(leaf, plain(omegaconf_content(node) if _is_omegaconf(node) else node))


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
