"""The constructors of numpy: dtypes, arrays and scalars, as numpy 1 and 2 and Python 2 and 3 pickle them.

Sources: `__reduce__` and `__setstate__` in numpy's `multiarray/methods.c` and `descriptor.c`,
`_core/numeric.py::_frombuffer`, `ma/core.py::_mareconstruct`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import MAX_DIMENSIONS, LazyArray, contiguous_strides
from ckpt_core.dtypes import is_extended, is_known, itemsize, name_of, to_numpy
from ckpt_core.errors import DamagedFileError
from ckpt_core.pickles.blob import Blob
from ckpt_core.pickles.constructors import Constructor, Unfinished, resolve
from ckpt_core.storage import MemoryStorage, Storage
from ckpt_core.tree import Global, Record

__all__ = ["NUMPY", "DType", "array_from_state", "make_array"]

MAX_BYTES: Final = 1 << 62
_CODE: Final = re.compile(r"[<>=|]?[?biufcSUVOMmT][0-9]{0,9}")
_UNITS: Final = frozenset({"Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"})
_PLAIN_CLASSES: Final = frozenset({"numpy.ndarray", "numpy.memmap", "numpy.core.memmap.memmap"})

_EMPTY: Final = LazyArray((0,), "int8", MemoryStorage(b""))


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
    if not args:
        return NotImplemented
    code = args[0]
    if type(code) is Global:
        name = code.name.rpartition(".")[2]
        if name == "bool_":
            name = "bool"
        if not is_known(name):
            return NotImplemented
    elif type(code) is str:
        name = code
    else:
        return NotImplemented
    if is_known(name) and is_extended(name):
        return DType(name, itemsize(name), name)
    if not (is_known(name) or _CODE.fullmatch(name)):
        return NotImplemented
    try:
        found = np.dtype(name.lstrip("<>=|"))
    except (TypeError, ValueError, OverflowError):
        return NotImplemented
    dtype = DType(found.str.lstrip("<>=|"), found.itemsize, name_of(found))
    dtype.big_endian = name.startswith(">")
    return dtype


def _dtype_state(dtype: Any, state: Any) -> Any:
    """dtype.__setstate__((version, order, base and shape, names, fields, size, alignment, flags, metadata))."""
    if type(dtype) is not DType or type(state) is not tuple or not 5 <= len(state) <= 9:
        return NotImplemented
    if len(state) == 5:  # numpy before 1.0
        state = (0, state[0], state[1], None, state[2], state[3], state[4])
    _, order, subarray, names, fields, size, *rest = state
    if order not in ("<", ">", "=", "|"):
        return NotImplemented
    dtype.big_endian = order == ">"
    if type(size) is int and dtype.code[:1] in ("S", "U", "V") and 0 <= size < 1 << 31:
        dtype.width = size
        dtype.code = f"{dtype.code[:1]}{size // 4 if dtype.code[:1] == 'U' else size}"
    details: dict[str, Any] = {}
    if subarray is not None:
        if type(subarray) is not tuple or len(subarray) != 2:
            return NotImplemented
        details["base"], details["shape"] = subarray
    if names is not None:
        if type(names) is not tuple or type(fields) is not dict:
            return NotImplemented
        parts = [fields.get(name) if type(name) is str else None for name in names]
        if not all([type(part) is tuple and len(part) in (2, 3) for part in parts]):
            return NotImplemented
        details["names"] = list(names)
        details["formats"] = [part[0] for part in parts if part is not None]
        details["offsets"] = [part[1] for part in parts if part is not None]
        details["itemsize"] = dtype.width
    if len(rest) > 2 and rest[2] is not None:
        metadata = rest[2]
        if dtype.code in ("M8", "m8") and type(metadata) is tuple and len(metadata) == 2:
            metadata, dtype.unit = metadata[0], _unit(metadata[1])
        if metadata:
            details["metadata"] = metadata
    if details:
        dtype.details = details
        if names is not None or subarray is not None:
            dtype.name = None
    return dtype


def _unit(state: Any) -> str:
    """Return the unit of a date, as in "[25s]", from (unit, number, denominator, events)."""
    if type(state) is not tuple or len(state) != 4 or type(state[1]) is not int:
        return ""
    unit = state[0].decode("latin-1") if type(state[0]) is bytes else state[0]
    if type(unit) is not str or unit not in _UNITS:
        return ""
    return f"[{'' if state[1] == 1 else state[1]}{unit}]"


def make_array(shape: Any, dtype: Any, fortran: bool, data: Any) -> Any:
    """Return the array of a shape, a dtype and the bytes, text or list that holds its elements.

    Raises:
        DamagedFileError: there are more or fewer bytes than the shape says.
    """
    dtype, data = resolve(dtype), resolve(data)
    shape = resolve(shape)
    if type(shape) is int:
        shape = (shape,)
    if type(dtype) is not DType or type(shape) is not tuple or len(shape) > MAX_DIMENSIONS:
        return NotImplemented
    for size in shape:
        if type(size) is not int:
            return NotImplemented
        if not 0 <= size < MAX_BYTES:
            raise DamagedFileError(f"an array has a dimension of {str(size)[:40]}")
    count = math.prod(shape)
    if math.prod([size or 1 for size in shape]) * max(dtype.width, 1) >= MAX_BYTES:
        raise DamagedFileError(f"an array has the impossible shape {shape[:8]}")
    if dtype.code == "O":
        return _objects(shape, count, fortran, data)
    storage = _storage(data, count * dtype.width)
    if storage is None:
        return NotImplemented
    if dtype.name is None:
        return _special(shape, dtype, fortran, storage)
    strides = contiguous_strides(shape[::-1], dtype.width)[::-1] if fortran and len(shape) > 1 else None
    array = LazyArray(shape, dtype.name, storage, 0, strides)
    return array.byteswapped() if dtype.big_endian else array


def _storage(data: Any, nbytes: int) -> Storage | None:
    if type(data) is Blob:
        return data.storage(nbytes)
    data = _encoded(data)
    if type(data) is not bytes:
        return None
    if len(data) != nbytes:
        raise DamagedFileError(f"an array of {nbytes} bytes has {len(data)}")
    return MemoryStorage(data)


def _encoded(data: Any) -> Any:
    """Return the bytes of a Python 2 str that was read as text."""
    if type(data) is not str:
        return data
    try:
        return data.encode("latin-1")
    except UnicodeEncodeError:
        return None


def _objects(shape: tuple[int, ...], count: int, fortran: bool, data: Any) -> Any:
    if type(data) is not list:
        return NotImplemented
    if len(data) != count:
        raise DamagedFileError(f"an array of {count} objects has {len(data)}")
    order = {"order": "F"} if fortran else {}
    return Record("numpy.ndarray", {"dtype": "object", "shape": shape, **order, "elements": data})


def _special(shape: tuple[int, ...], dtype: DType, fortran: bool, storage: Storage) -> Record:
    """Text, dates and structures: the bytes as they are, and what they mean."""
    data = LazyArray((storage.nbytes,), "uint8", storage)
    order = {"order": "F"} if fortran else {}
    form = dtype.text if dtype.details is None else dtype
    return Record("numpy.ndarray", {"dtype": form, "shape": shape, **order, "data": data})


def _reconstruct(args: tuple[Any, ...]) -> Any:
    """_reconstruct(class, (0,), b'b'): an empty array that waits for its state."""
    if len(args) != 3 or type(args[0]) is not Global:
        return NotImplemented
    return _EMPTY if args[0].name in _PLAIN_CLASSES else Record(args[0].name, {"array": _EMPTY})


def _array_state(value: Any, state: Any) -> Any:
    array = array_from_state(state)
    if array is NotImplemented or type(value) is not Record:
        return array
    value["array"] = array
    return value


def array_from_state(state: Any) -> Any:
    """Read ndarray.__setstate__'s argument: ([version,] shape, dtype, is Fortran order, data)."""
    if type(state) is not tuple or len(state) not in (4, 5):
        return NotImplemented
    shape, dtype, fortran, data = state[-4:]
    return make_array(shape, dtype, bool(fortran) if type(fortran) in (bool, int) else False, data)


def _frombuffer(args: tuple[Any, ...]) -> Any:
    """_frombuffer(buffer, dtype, shape, order, axis order): protocol 5, with the buffer in the file."""
    if len(args) not in (4, 5) or args[3] not in ("C", "F", "K"):
        return NotImplemented
    data, dtype, shape, order = args[:4]
    if order != "K":
        return make_array(shape, dtype, order == "F", data)
    axes = args[4] if len(args) == 5 else None
    array = make_array(shape, dtype, False, data)
    if type(array) is not LazyArray or type(axes) is not tuple or not all(type(axis) is int for axis in axes):
        return NotImplemented
    if sorted(axes) != list(range(array.ndim)):
        return NotImplemented
    storage, offset, strides, _ = array.pieces[0]
    steps = strides or contiguous_strides(array.shape, itemsize(array.dtype))
    moved = tuple(array.shape[axis] for axis in axes)
    return LazyArray(moved, array.dtype, storage, offset, tuple(steps[axis] for axis in axes))


def _scalar(args: tuple[Any, ...]) -> Any:
    """scalar(dtype, data)."""
    if len(args) != 2:
        return NotImplemented
    dtype, data = resolve(args[0]), args[1]
    if type(dtype) is not DType or dtype.width > 1 << 20:
        return NotImplemented
    if type(data) is Blob and data.length <= 8 << 20:
        data = data.read()
    data = _encoded(data)
    if type(data) is not bytes:
        return NotImplemented
    if len(data) != dtype.width:
        raise DamagedFileError(f"a {dtype.text} scalar has {len(data)} bytes")
    if dtype.name is not None:
        native = to_numpy(dtype.name)
        return np.frombuffer(data, native.newbyteorder(">") if dtype.big_endian else native)[0]
    if dtype.details is None and dtype.code[:1] == "U":
        try:
            return data.decode("utf-32-be" if dtype.big_endian else "utf-32-le").rstrip("\0")
        except UnicodeDecodeError:
            return NotImplemented
    if dtype.details is None and dtype.code[:1] == "S":
        return data.rstrip(b"\0")
    return Record("numpy.scalar", {"dtype": dtype if dtype.details else dtype.text, "data": data})


def _masked(args: tuple[Any, ...]) -> Any:
    """_mareconstruct(class, base class, (0,), 'b')."""
    if len(args) != 4 or type(args[0]) is not Global:
        return NotImplemented
    return Record(args[0].name)


def _masked_state(value: Any, state: Any) -> Any:
    """MaskedArray.__setstate__((version, shape, dtype, is Fortran order, data, mask, fill value))."""
    if type(state) is not tuple or len(state) != 7:
        return NotImplemented
    _, shape, dtype, fortran, data, mask, fill = state
    order = fortran is True or fortran == 1
    array = make_array(shape, dtype, order, data)
    hidden = make_array(shape, DType("b1", 1, "bool"), order, mask)
    if array is NotImplemented or hidden is NotImplemented:
        return NotImplemented
    value.update(data=array, mask=hidden, fill_value=fill)
    return value


def _everywhere(name: str, constructor: Constructor) -> dict[str, Constructor]:
    """numpy 2 renamed numpy.core to numpy._core."""
    return {f"numpy.{core}.{name}": constructor for core in ("core", "_core")}


NUMPY: Final[Mapping[str, Constructor]] = {
    "numpy.dtype": Constructor(_dtype, _dtype_state),
    **_everywhere("multiarray._reconstruct", Constructor(_reconstruct, _array_state)),
    **_everywhere("multiarray.scalar", Constructor(_scalar)),
    **_everywhere("numeric._frombuffer", Constructor(_frombuffer)),
    "numpy.ma.core._mareconstruct": Constructor(_masked, _masked_state),
}
