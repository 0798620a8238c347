"""Live objects as trees: arrays of any framework, dataclasses, named tuples and Namespaces."""

from __future__ import annotations

import argparse
import dataclasses
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import name_of
from ckpt_core.errors import UnsupportedError
from ckpt_core.registry import registry
from ckpt_core.schema import Checkpoint
from ckpt_core.storage import MemoryStorage, Storage
from ckpt_core.tree import Alias, Record, render_key, unshare

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
    return unshare(_convert(value, "", _Adopted()))


class _Adopted:
    """What was converted so far: arrays that share memory share a storage, shared containers stay shared."""

    def __init__(self) -> None:
        self._arrays: dict[int, tuple[Any, LazyArray]] = {}
        self._storages: dict[tuple[int, int], Storage] = {}
        self.containers: dict[int, tuple[Any, Any]] = {}

    def wrap(self, value: Any, place: str) -> LazyArray | None:
        if isinstance(value, LazyArray):
            return value
        known = self._arrays.get(id(value))
        if known is not None:
            return known[1]
        array = _adopt(value, place)
        if array is None:
            return None
        storage = array.pieces[0].storage
        if len(array.pieces) == 1 and isinstance(storage, MemoryStorage) and storage.nbytes:
            shared = self._storages.setdefault((storage.address, storage.nbytes), storage)
            array = array if shared is storage else array.with_storage(shared)
        self._arrays[id(value)] = value, array  # the value is kept, so that its id stays its own
        return array


def _convert(value: Any, place: str, adopted: _Adopted) -> Any:
    # Live objects are no file's choice; Python's own recursion limit is the bound here.
    if isinstance(value, (Record, Alias)):
        return value
    known = adopted.containers.get(id(value))
    if known is not None:
        return known[1]
    fields = _fields(value)
    if fields is None and not isinstance(value, (Mapping, list, tuple)):
        array = adopted.wrap(value, place)
        return value if array is None else array
    if fields is None and isinstance(value, tuple):
        return tuple([_convert(child, f"{place}/[{i}]", adopted) for i, child in enumerate(value)])
    made = _empty(value, fields)
    adopted.containers[id(value)] = value, made
    if isinstance(made, list):
        made.extend(_convert(child, f"{place}/[{i}]", adopted) for i, child in enumerate(value))
    else:
        for key, child in (value if fields is None else fields).items():
            made[key] = _convert(child, f"{place}/{render_key(key)}", adopted)
    return made


def _empty(value: Any, fields: Mapping[str, Any] | None) -> Any:
    """A container of the kind that stands for a live one in a tree, to be filled."""
    if fields is not None:
        return Record(f"{type(value).__module__}.{type(value).__qualname__}")
    if isinstance(value, OrderedDict) and vars(value):
        return Record("collections.OrderedDict", state=dict(vars(value)))
    return [] if isinstance(value, list) else {}


def _fields(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, tuple) and isinstance(getattr(value, "_fields", None), tuple):
        return dict(zip(value._fields, value, strict=True))  # type: ignore[attr-defined]  # a named tuple
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return vars(value) if isinstance(value, argparse.Namespace) else None


def _adopt(value: Any, place: str) -> LazyArray | None:
    """Wrap an array of numpy, or of a framework that a backend knows."""
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
