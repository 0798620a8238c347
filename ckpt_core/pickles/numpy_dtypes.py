"""numpy's dtypes, as its pickles describe them: `numpy.dtype(code)`, and a state with the byte order and fields.

Source: `__reduce__` and `__setstate__` in numpy's `multiarray/descriptor.c`.
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np

from ckpt_core.dtypes import is_extended, is_known, itemsize, name_of
from ckpt_core.pickles.constructors import Constructor, Unfinished, malformed, resolve
from ckpt_core.tree import Global, Record

__all__ = ["DTYPE", "DType"]

_CODE: Final = re.compile(r"[<>=|]?[?biufcSUVOMmT][0-9]{0,9}")
_UNITS: Final = frozenset({"Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"})
_RECORDS: Final = frozenset(
    {"numpy.record", "numpy.rec.record", "numpy.core.records.record", "numpy._core.records.record"}
)
"""The scalar type of record arrays, which stands in the place of the code."""

_STATE: Final = "the state of a numpy dtype"


class DType(Unfinished):
    """A numpy dtype as the file describes it.

    Arguments:
        code: numpy's code without the byte order ("f4", "U12", "V8", "O"), or the neutral name.
        width: bytes per element.
        name: the neutral name, or None for what has none (text, dates, structures, objects).
    """

    __slots__ = ("_final", "big_endian", "code", "details", "name", "unit", "width")

    def __init__(self, code: str, width: int, name: str | None) -> None:
        self.code = code
        self.width = width
        self.name = name
        self.unit = ""
        self.big_endian = False
        self.details: dict[str, Any] | None = None
        self._final: Record | None = None

    @property
    def text(self) -> str:
        """The code with its byte order, as `numpy.dtype` takes it; extended types by name."""
        if self.name is not None and is_extended(self.name):
            return self.name
        order = "|" if self.width <= 1 or self.code[:1] in "SVO" else ">" if self.big_endian else "<"
        return order + self.code + self.unit

    @property
    def has_objects(self) -> bool:
        """Whether elements are Python objects, or structures with such a field."""
        formats = (self.details or {}).get("formats", [])
        return self.code == "O" or any(
            type(part := resolve(form)) is DType and part.code == "O" for form in formats
        )

    def finish(self) -> Any:
        if self.details is None:
            return Record("numpy.dtype", args=(self.text,))
        if self._final is None:
            self._final = Record("numpy.dtype", self.details, args=(self.text,))
        return self._final


def _dtype(args: tuple[Any, ...]) -> Any:
    """numpy.dtype(code, align, copy)."""
    if not 1 <= len(args) <= 4 or not all(type(flag) in (bool, int) for flag in args[1:3]):
        return malformed("a numpy dtype", args)
    code = args[0]
    if type(code) is Global:
        if code.name in _RECORDS:
            return DType("V0", 0, None)
        name = code.name.rpartition(".")[2]
        if name == "bool_":
            name = "bool"
        if not is_known(name):
            return NotImplemented
    elif type(code) is str:
        name = code
    else:
        return malformed("a numpy dtype", code)
    if is_known(name) and is_extended(name):
        return DType(name, itemsize(name), name)
    if not (is_known(name) or _CODE.fullmatch(name)):
        return malformed("the code of a numpy dtype", name)
    try:
        found = np.dtype(name.lstrip("<>=|"))
    except (TypeError, ValueError, OverflowError):
        return NotImplemented
    dtype = DType(found.str.lstrip("<>=|"), found.itemsize, name_of(found))
    dtype.big_endian = name.startswith(">")
    return dtype


def _dtype_state(dtype: Any, state: Any) -> Any:
    """dtype.__setstate__((version, order, base and shape, names, fields, size, alignment, flags, metadata))."""
    if type(dtype) is not DType:
        return NotImplemented
    if type(state) is not tuple or not 5 <= len(state) <= 9:
        return malformed(_STATE, state)
    if len(state) < 7:  # numpy before 1.1 wrote no names beside the fields, and before 1.0 no version
        *version, order, subarray, fields, size, alignment = state
        if fields is not None:
            return NotImplemented
        state = (*(version or [0]), order, subarray, None, None, size, alignment)
    version, order, subarray, names, fields, size, *rest = state
    if version not in range(5) or order not in ("<", ">", "=", "|"):
        return malformed(_STATE, state)
    if not all(type(number) is int for number in (size, *rest[:2])):
        return malformed(_STATE, state)
    dtype.big_endian = order == ">"
    if dtype.code[:1] in ("S", "U", "V") and 0 <= size < 1 << 31:
        dtype.width = size
        dtype.code = f"{dtype.code[:1]}{size // 4 if dtype.code[:1] == 'U' else size}"
    details = _details(dtype, subarray, names, fields)
    if details is NotImplemented:
        return details
    if details:
        dtype.name = None
    if len(rest) > 2 and rest[2] is not None:
        metadata = rest[2]
        if dtype.code in ("M8", "m8") and type(metadata) is tuple and len(metadata) == 2:
            metadata, dtype.unit = metadata[0], _unit(metadata[1])
        if metadata:
            details["metadata"] = metadata
    dtype.details = details or None
    return dtype


def _details(dtype: DType, subarray: Any, names: Any, fields: Any) -> Any:
    """Return what a dtype of arrays has besides its code, and one of structures; an empty dict for any other."""
    details: dict[str, Any] = {}
    if subarray is not None:
        if type(subarray) is not tuple or len(subarray) != 2:
            return malformed(_STATE, subarray)
        details["base"], details["shape"] = subarray
    if names is None and fields is None:
        return details
    if type(names) is not tuple or type(fields) is not dict:
        return malformed(_STATE, (names, fields))
    parts = [fields.get(name) if type(name) is str else None for name in names]
    if not all([type(part) is tuple and len(part) in (2, 3) for part in parts]):
        return malformed(_STATE, (names, fields))
    details["names"] = list(names)
    details["formats"] = [part[0] for part in parts if part is not None]
    details["offsets"] = [part[1] for part in parts if part is not None]
    details["itemsize"] = dtype.width
    return details


def _unit(state: Any) -> str:
    """Return the unit of a date, as in "[25s]", from (unit, number, denominator, events)."""
    if type(state) is not tuple or len(state) != 4 or type(state[1]) is not int:
        return ""
    unit = state[0].decode("latin-1") if type(state[0]) is bytes else state[0]
    if type(unit) is not str or unit not in _UNITS:
        return ""
    return f"[{'' if state[1] == 1 else state[1]}{unit}]"


DTYPE: Final = Constructor(_dtype, _dtype_state, copies=True)
"""How a call of `numpy.dtype` is read."""
