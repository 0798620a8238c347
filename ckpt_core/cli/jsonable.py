"""Any node of a tree as a value that JSON can hold, for reading; `neutral` has the exact form for writing."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.tree import Alias, Global, Record, render_key, render_path

__all__ = ["jsonable", "leaf_row"]

DEPTH: Final = 64
"""Levels of nesting that are shown."""

_BITS: Final = 1024


def leaf_row(path: str, array: LazyArray) -> dict[str, Any]:
    """Return what is said about one array."""
    return {"path": path, "shape": list(array.shape), "dtype": array.dtype, "nbytes": array.nbytes}


def jsonable(node: Any, depth: int = 0) -> Any:
    """Return a node as JSON: arrays as shape and dtype, NaN as text, objects as their type and fields.

    Example:
        >>> jsonable({"lr": float("nan"), 3: (1, b"abc")})
        {'lr': 'NaN', '3': [1, '<3 bytes>']}
    """
    if node is None or type(node) in (bool, str):
        return node
    if isinstance(node, int):
        value = int(node)
        return value if value.bit_length() <= _BITS else f"<integer of {value.bit_length()} bits>"
    if isinstance(node, float):
        return _float(float(node))
    if isinstance(node, (Mapping, list, tuple, set, frozenset)):
        return _container(node, depth) if depth < DEPTH else "<nested deeper>"
    return _leaf(node)


def _float(value: float) -> Any:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _container(node: Any, depth: int) -> Any:
    if isinstance(node, Record):
        shown: dict[str, Any] = {"type": node.type_name, "fields": _mapping(node, depth + 1)}
        parts = {"args": node.args or None, "appended": node.appended, "state": node.state}
        return shown | {name: jsonable(part, depth + 1) for name, part in parts.items() if part is not None}
    if isinstance(node, Mapping):
        return _mapping(node, depth)
    values = sorted(node, key=repr) if isinstance(node, (set, frozenset)) else node
    return [jsonable(value, depth + 1) for value in values]


def _mapping(node: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for key, child in node.items():
        name = key if isinstance(key, str) else _key(key)
        if name in shown or (name is not key and name in node):
            name = render_key(key)  # `(3)`, where there is "3" as well
        shown[name] = jsonable(child, depth + 1)
    return shown


def _key(key: Any) -> str:
    value = jsonable(key) if isinstance(key, int) and not isinstance(key, bool) else key
    return value if isinstance(value, str) else repr(value)[:1000]


def _leaf(node: Any) -> Any:
    if isinstance(node, LazyArray):
        return {"shape": list(node.shape), "dtype": node.dtype, "nbytes": node.nbytes}
    if isinstance(node, np.generic):
        value = node.item()
        return str(node)[:1000] if isinstance(value, (np.generic, tuple, bytes)) else jsonable(value)
    if isinstance(node, (bytes, bytearray)):
        return f"<{len(node)} bytes>"
    if isinstance(node, (dt.date, dt.time)):
        return node.isoformat()
    if isinstance(node, Global):
        return f"<name {node.name}>"
    if isinstance(node, Alias):
        return f"<same as {render_path(node.path)}>"
    if isinstance(node, (complex, str, PurePath, dt.timedelta, range, slice)):
        return str(node)
    return f"<{type(node).__name__}>"
