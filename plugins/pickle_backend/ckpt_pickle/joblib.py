"""The constructors of joblib and cloudpickle.

joblib (since 0.10) pickles a NumpyArrayWrapper for each array and lets the raw bytes follow its BUILD opcode,
since 1.2 after one byte that says how much padding aligns them (`joblib/numpy_pickle.py`). cloudpickle restores
functions and classes by calling a setter; they stay inert (`cloudpickle/cloudpickle.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.errors import DamagedFileError, UnsupportedError
from ckpt_core.pickles import PLAIN, Blob, Constructor, DType, make_array, resolve, unpickle
from ckpt_core.source import Source
from ckpt_core.tree import Record

__all__ = ["TABLE"]

_WRAPPER: Final = "joblib.numpy_pickle.NumpyArrayWrapper"


def _wrapper(args: tuple[Any, ...]) -> Any:
    return NotImplemented if args else Record(_WRAPPER)


def _array(_value: Any, state: Any, source: Source, position: int) -> tuple[Any, int]:
    """Read the array behind a NumpyArrayWrapper; returns it and the position after its bytes."""
    fields = state if type(state) is dict else {}
    shape, dtype = resolve(fields.get("shape")), resolve(fields.get("dtype"))
    if type(shape) is not tuple or type(dtype) is not DType or len(shape) > 64:
        raise DamagedFileError("an array of joblib has no shape or no dtype")
    if not all(type(size) is int and 0 <= size < 1 << 62 for size in shape):
        raise DamagedFileError("an array of joblib has an impossible shape")
    if dtype.has_objects:
        inner = unpickle(source, PLAIN, start=position)
        return inner.value, inner.end
    if fields.get("numpy_array_alignment_bytes") is not None:
        position += 1 + source.read(position, 1)[0]
    nbytes = math.prod(shape) * dtype.width
    if not 0 <= nbytes <= source.size - position:
        raise DamagedFileError(f"an array of {nbytes} bytes begins at byte {position} of {source.size}")
    data = Blob(source, position, nbytes, "", "bytes")
    array = make_array(shape, dtype, fields.get("order") == "F", data)
    if array is NotImplemented:
        raise DamagedFileError("an array of joblib has an impossible shape")
    return array, position + nbytes


def _elsewhere(_args: tuple[Any, ...]) -> Any:
    raise UnsupportedError(
        "its arrays are in separate files beside it, as joblib before 0.10 wrote them",
        remedy="Load it with joblib and save it again: joblib.dump(joblib.load(OLD), NEW).",
    )


def _set_state(args: tuple[Any, ...]) -> Any:
    """A setter of cloudpickle: (object, state); the object is on the stack below."""
    if len(args) == 2 and type(args[0]) is Record and args[0].state is None:
        args[0].state = args[1]
        return args[0]
    return NotImplemented


_CLOUDPICKLE: Final = {
    f"cloudpickle.{module}.{name}": Constructor(_set_state)
    for module in ("cloudpickle", "cloudpickle_fast")
    for name in ("_class_setstate", "_function_setstate")
}

TABLE: Final[Mapping[str, Constructor]] = {
    **PLAIN,
    _WRAPPER: Constructor(_wrapper, inline=_array),
    "joblib.numpy_pickle.NDArrayWrapper": Constructor(_elsewhere),
    "joblib.numpy_pickle_compat.NDArrayWrapper": Constructor(_elsewhere),
    "joblib.numpy_pickle.ZNDArrayWrapper": Constructor(_elsewhere),
    "joblib.numpy_pickle_compat.ZNDArrayWrapper": Constructor(_elsewhere),
    **_CLOUDPICKLE,
}
"""Everything but torch."""
