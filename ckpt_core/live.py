"""Live objects as trees: arrays of any framework, dataclasses, named tuples and Namespaces."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import name_of
from ckpt_core.errors import UnsupportedError
from ckpt_core.registry import registry
from ckpt_core.schema import Checkpoint
from ckpt_core.tree import Record, render_key, unshare

__all__ = ["tree_of"]


def tree_of(value: Any) -> Any:
    """Return a live tree with every array as a LazyArray over the same memory.

    Arguments:
        value: dicts, lists, tuples, dataclasses, named tuples and Namespaces of numpy, torch or jax arrays.

    Raises:
        UnsupportedError: an array has a dtype without a neutral name; says where.
    """
    if isinstance(value, Checkpoint):
        return value.tree
    adopted: dict[int, LazyArray] = {}
    return unshare(_convert(value, "", adopted))


def _convert(value: Any, place: str, adopted: dict[int, LazyArray]) -> Any:
    # Live objects are no file's choice; Python's own recursion limit is the bound here.
    if isinstance(value, Record):
        return value
    if isinstance(value, Mapping):
        pairs = {key: _convert(child, f"{place}/{render_key(key)}", adopted) for key, child in value.items()}
        state = vars(value) if type(value).__name__ == "OrderedDict" and hasattr(value, "__dict__") else None
        return Record("collections.OrderedDict", pairs, state=dict(state)) if state else pairs
    fields = _fields(value)
    if fields is not None:
        kept = {name: _convert(child, f"{place}/{name}", adopted) for name, child in fields.items()}
        return Record(f"{type(value).__module__}.{type(value).__qualname__}", kept)
    if isinstance(value, (list, tuple)):
        made = [_convert(child, f"{place}/[{i}]", adopted) for i, child in enumerate(value)]
        return tuple(made) if isinstance(value, tuple) else made
    if id(value) not in adopted:
        array = _adopt(value, place)
        if array is None:
            return value
        adopted[id(value)] = array
    return adopted[id(value)]


def _fields(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, tuple) and isinstance(getattr(value, "_fields", None), tuple):
        return dict(zip(value._fields, value, strict=True))  # type: ignore[attr-defined]  # a named tuple
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return vars(value) if isinstance(value, argparse.Namespace) else None


def _adopt(value: Any, place: str) -> LazyArray | None:
    """Wrap an array of numpy, or of a framework that a backend knows."""
    if isinstance(value, LazyArray):
        return value
    if isinstance(value, np.ndarray):
        if name_of(value.dtype) is None:
            raise UnsupportedError(
                f"numpy dtype {value.dtype} is not an array of numbers", place=place.lstrip("/")
            )
        return LazyArray.from_numpy(value)
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
        return None
    for _, backend in registry().backends:
        array = backend.adopt(value)
        if array is not None:
            return array
    return None
