"""The constructors of numpy: arrays and scalars, as numpy 1 and 2 and Python 2 and 3 pickle them.

Sources: `__reduce__` and `__setstate__` in numpy's `multiarray/methods.c`, `_core/numeric.py::_frombuffer`,
`ma/core.py::_mareconstruct`; dill's `_dill.py::_create_array`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import MAX_DIMENSIONS, LazyArray, Piece, contiguous_strides
from ckpt_core.dtypes import itemsize, to_numpy
from ckpt_core.errors import DamagedFileError
from ckpt_core.pickles.blob import Blob
from ckpt_core.pickles.constructors import Constructor, malformed, resolve
from ckpt_core.pickles.numpy_dtypes import DTYPE, DType
from ckpt_core.storage import MemoryStorage, Storage
from ckpt_core.tree import Global, Record

__all__ = ["NUMPY", "RECONSTRUCT", "array_from_state", "make_array"]

MAX_BYTES: Final = 1 << 62
RECONSTRUCT: Final = frozenset({"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"})
_PLAIN_CLASSES: Final = frozenset({"numpy.ndarray", "numpy.memmap", "numpy.core.memmap.memmap"})

_EMPTY: Final = LazyArray((0,), "int8", MemoryStorage(b""))


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
        return malformed("the shape or the dtype of an array", (shape, dtype))
    count = 1
    for size in shape:
        if type(size) is not int:
            return malformed("the shape of an array", shape)
        if not 0 <= size < MAX_BYTES:
            raise DamagedFileError(f"an array has a dimension of {str(size)[:40]}")
        count *= size
    if (count or math.prod([size or 1 for size in shape])) * max(dtype.width, 1) >= MAX_BYTES:
        raise DamagedFileError(f"an array has the impossible shape {shape[:8]}")
    if dtype.code == "O":
        return _objects(shape, count, fortran, data)
    if type(data) is list and dtype.details is not None:  # structures with objects in them
        return NotImplemented
    storage = _storage(data, count * dtype.width)
    if storage is None:
        return malformed("the data of an array", data)
    if dtype.name is None:
        return _special(shape, dtype, fortran, storage)
    if fortran and len(shape) > 1:
        strides = contiguous_strides(shape[::-1], dtype.width)[::-1]
        array = LazyArray(shape, dtype.name, storage, 0, strides)
    else:
        array = LazyArray.filling(shape, dtype.name, (Piece(storage, 0),))
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
        return malformed("the data of an array of objects", data)
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
    """_reconstruct(class, (0,), b'b'): an array that waits for its state, which brings the shape."""
    if len(args) != 3 or type(args[0]) is not Global or type(args[1]) is not tuple:
        return malformed("an array without its state", args[1:] if type(args[0]) is Global else args)
    if args[1] != (0,):  # without a state, its elements would be whatever lies in memory
        return Record("numpy.ndarray", args=args)
    return _EMPTY if args[0].name in _PLAIN_CLASSES else Record(args[0].name, {"array": _EMPTY})


def _array_state(value: Any, state: Any) -> Any:
    array = array_from_state(state)
    if array is NotImplemented or type(value) is not Record or value.type_name in _PLAIN_CLASSES:
        return array
    value["array"] = array
    return value


def array_from_state(state: Any) -> Any:
    """Read ndarray.__setstate__'s argument: ([version,] shape, dtype, is Fortran order, data)."""
    if type(state) is not tuple or len(state) not in (4, 5) or (len(state) == 5 and state[0] != 1):
        return malformed("the state of an array", state)
    shape, dtype, fortran, data = state[-4:]
    if type(fortran) not in (bool, int):
        return malformed("the order of an array", fortran)
    return make_array(shape, dtype, bool(fortran), data)


def _dill_array(args: tuple[Any, ...]) -> Any:
    """dill's _create_array(function, its arguments, the array's state, the attributes of its class or None)."""
    if len(args) != 4 or type(args[0]) is not Global or args[0].name not in RECONSTRUCT or args[3]:
        return NotImplemented
    if type(args[1]) is not tuple or not args[1] or args[1][0] != Global("numpy.ndarray"):
        return NotImplemented
    return array_from_state(args[2])


def _frombuffer(args: tuple[Any, ...]) -> Any:
    """_frombuffer(buffer, dtype, shape, order, axis order): protocol 5, with the buffer in the file."""
    if len(args) not in (4, 5) or args[3] not in ("C", "F", "K"):
        return malformed("an array", args)
    data, dtype, shape, order = args[:4]
    if order != "K":
        return make_array(shape, dtype, order == "F", data)
    axes = args[4] if len(args) == 5 else None
    array = make_array(shape, dtype, False, data)
    if type(array) is not LazyArray:
        return NotImplemented
    if type(axes) is not tuple or not all(type(axis) is int for axis in axes):
        return malformed("the axes of an array", axes)
    if sorted(axes) != list(range(array.ndim)):
        return malformed("the axes of an array", axes)
    storage, offset, strides, _ = array.pieces[0]
    steps = strides or contiguous_strides(array.shape, itemsize(array.dtype))
    moved = tuple(array.shape[axis] for axis in axes)
    return LazyArray(moved, array.dtype, storage, offset, tuple(steps[axis] for axis in axes))


def _scalar(args: tuple[Any, ...]) -> Any:
    """scalar(dtype, data)."""
    if len(args) != 2:
        return malformed("a numpy scalar", args)
    dtype, data = resolve(args[0]), args[1]
    if type(dtype) is not DType:
        return malformed("the dtype of a numpy scalar", dtype)
    if dtype.has_objects or dtype.width > 1 << 20:
        return NotImplemented
    if type(data) is Blob and data.length <= 8 << 20:
        data = data.read()
    data = _encoded(data)
    if type(data) is not bytes:
        return malformed("the data of a numpy scalar", data)
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
        return malformed("the state of a masked array", state)
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
    "numpy.dtype": DTYPE,
    **_everywhere("multiarray._reconstruct", Constructor(_reconstruct, _array_state)),
    **_everywhere("multiarray.scalar", Constructor(_scalar, copies=True)),
    **_everywhere("numeric._frombuffer", Constructor(_frombuffer)),
    "dill._dill._create_array": Constructor(_dill_array),
    "dill.dill._create_array": Constructor(_dill_array),
    "numpy.ma.core._mareconstruct": Constructor(_masked, _masked_state),
}
