"""Live objects as trees: arrays of any framework, dataclasses, named tuples and Namespaces."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from ckpt_core.aliases import unshare
from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import name_of
from ckpt_core.errors import UnsupportedError
from ckpt_core.fitting.neutral import encode_value
from ckpt_core.registry import registry
from ckpt_core.schema import Checkpoint
from ckpt_core.storage import MemoryStorage, Storage
from ckpt_core.tree import (
    Alias,
    Global,
    KeyPath,
    Record,
    flatten,
    map_with_path,
    render_key,
    render_path,
)

__all__ = ["as_data", "tree_of"]

_PLAIN: Final = frozenset(
    {LazyArray, bool, int, float, complex, str, bytes, type(None), dict, list, tuple, Record, Alias, Global}
)
_BASES: Final[dict[type, Callable[[Any], Any]]] = {
    str: str.__str__,
    bytes: bytes,
    bytearray: bytes,
    int: int,
    float: float,
    complex: complex,
}
"""What values of subclasses are made of, and how it is got; an enum's `str` would be its name."""

_NAMED: Final = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)


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


def as_data(tree: Any) -> Any:
    """Return a live tree with every value as one that a checkpoint holds, in the form in which a pickle of it reads.

    Members of an enum become Records of their values, functions and classes references to their names, and values
    of subclasses of numbers and texts what they are made of.

    Arguments:
        tree: what `tree_of` returns.

    Raises:
        UnsupportedError: an object is neither an array nor a plain value; says where.
    """
    if all(type(leaf) in _PLAIN for _, leaf in flatten(tree)):
        return tree
    return map_with_path(_datum, tree)


def _datum(path: KeyPath, value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, enum.Enum):
        return Record(_name(type(value)), args=(_datum(path, value.value),))
    if isinstance(value, _NAMED):
        return Global(_name(value))
    if isinstance(value, np.dtype):
        return Record("numpy.dtype", args=(value.name if value.kind == "V" else value.str,))
    if not isinstance(value, np.generic) or isinstance(value, (np.str_, np.bytes_)):
        for base, made in _BASES.items():
            if isinstance(value, base):
                return made(value)
    try:
        encode_value(value)
    except UnsupportedError:
        raise UnsupportedError(
            f"a {_name(type(value))} is neither an array nor a plain value",
            place=render_path(path),
            remedy="Pass what it holds (of a model its state_dict(), or the model itself as model=), or its text.",
        ) from None
    return value


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


class _Adopted:
    """What was converted so far: arrays that share memory share a storage, shared containers stay shared."""

    def __init__(self) -> None:
        self._arrays: dict[int, tuple[Any, LazyArray]] = {}
        self._storages: dict[tuple[int, int], Storage] = {}
        self.containers: dict[int, tuple[Any, Any]] = {}

    def wrap(self, value: Any, place: str) -> Any:
        """Return the array over a live one's memory; anything else as its framework's pickles read, or as it is."""
        if isinstance(value, LazyArray):
            return value
        known = self._arrays.get(id(value))
        if known is not None:
            return known[1]
        array = _adopt(value, place)
        if not isinstance(array, LazyArray):
            return value if array is None else array
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
        return adopted.wrap(value, place)
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
        return Record(_name(type(value)))
    if isinstance(value, OrderedDict) and vars(value):
        return Record("collections.OrderedDict", state=dict(vars(value)))
    return [] if isinstance(value, list) else {}


def _fields(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, tuple) and isinstance(getattr(value, "_fields", None), tuple):
        return dict(zip(value._fields, value, strict=True))  # type: ignore[attr-defined]  # a named tuple
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return vars(value) if isinstance(value, argparse.Namespace) else None


def _adopt(value: Any, place: str) -> LazyArray | Record | Global | None:
    """Wrap an array of numpy, or of a framework that a backend knows."""
    if isinstance(value, np.ndarray):
        if type(value) is not np.ndarray and isinstance(value, np.ma.MaskedArray):
            raise UnsupportedError(
                "a masked array is no plain array",
                place=place.lstrip("/"),
                remedy="Pass its data and its mask.",
            )
        if name_of(value.dtype) is None:
            raise UnsupportedError(
                f"numpy dtype {value.dtype} is not an array of numbers", place=place.lstrip("/")
            )
        return LazyArray.from_numpy(value)
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
        return None
    for _, backend in registry().backends:
        try:
            array = backend.adopt(value)
        except UnsupportedError as error:
            error.place = error.place or place.lstrip("/")
            raise
        if array is not None:
            return array
    return None
