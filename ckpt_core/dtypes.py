"""Neutral dtype names, and what they are called in numpy and on disk.

A dtype is a plain string: numpy's own name for the types numpy has (`float32`), ml_dtypes' name for the
others (`bfloat16`, `float8_e4m3fn`). Byte order is a matter of storage and never part of the name.
Sub-byte integers (`int4`) take one byte per element, as numpy, msgpack and zarr store them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ckpt_core.errors import MissingDependencyError, UnsupportedError

__all__ = ["ITEMSIZE", "is_complex", "is_extended", "is_float", "is_known", "itemsize", "name_of", "to_numpy"]

_NUMPY: Final = {
    "bool": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
}
_EXTENDED: Final = {
    "bfloat16": 2,
    "float8_e3m4": 1,
    "float8_e4m3": 1,
    "float8_e4m3b11fnuz": 1,
    "float8_e4m3fn": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
    "float4_e2m1fn": 1,
    "float6_e2m3fn": 1,
    "float6_e3m2fn": 1,
    "int2": 1,
    "int4": 1,
    "uint2": 1,
    "uint4": 1,
}

ITEMSIZE: Final[dict[str, int]] = {**_NUMPY, **_EXTENDED}
"""Bytes per element of every neutral dtype."""

_numpy_cache: dict[str, np.dtype[Any]] = {name: np.dtype(name) for name in _NUMPY}


def is_known(name: str) -> bool:
    """Say whether `name` is a neutral dtype."""
    return name in ITEMSIZE


def is_extended(name: str) -> bool:
    """Say whether numpy needs ml_dtypes for it."""
    return name in _EXTENDED


def is_complex(name: str) -> bool:
    """Say whether the elements are complex numbers."""
    return name.startswith("complex")


def is_float(name: str) -> bool:
    """Say whether the elements are real floating-point numbers."""
    return name.startswith(("float", "bfloat"))


def itemsize(name: str) -> int:
    """Return the bytes per element; raises UnsupportedError for an unknown name."""
    try:
        return ITEMSIZE[name]
    except KeyError:
        raise UnsupportedError(f"unknown dtype {name!r}") from None


def to_numpy(name: str) -> np.dtype[Any]:
    """Return the native-endian numpy dtype; imports ml_dtypes when the name needs it.

    Raises:
        UnsupportedError: the name is not a neutral dtype, or this ml_dtypes does not have it.
        MissingDependencyError: ml_dtypes is not installed.
    """
    try:
        return _numpy_cache[name]
    except KeyError:
        pass
    if name not in _EXTENDED:
        raise UnsupportedError(f"unknown dtype {name!r}")
    try:
        import ml_dtypes
    except ImportError:
        raise MissingDependencyError(
            f"numpy has no {name} without ml_dtypes", remedy="pip install ml_dtypes"
        ) from None
    scalar_type = vars(ml_dtypes).get(name)
    if scalar_type is None:
        raise UnsupportedError(f"dtype {name} needs a newer ml_dtypes", remedy="pip install -U ml_dtypes")
    return _numpy_cache.setdefault(name, np.dtype(scalar_type))


def name_of(dtype: np.dtype[Any]) -> str | None:
    """Return the neutral name of a numpy dtype of any byte order, or None when it has none.

    Example:
        >>> name_of(np.dtype(">f4"))
        'float32'
    """
    name = dtype.name
    return name if name in ITEMSIZE and dtype.fields is None and dtype.subdtype is None else None
