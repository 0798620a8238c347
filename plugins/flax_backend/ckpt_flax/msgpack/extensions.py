"""Flax's extensions of msgpack (`flax/serialization.py`): arrays, whose bytes stay where they are, and numbers.

ext 1   an array: msgpack of (shape, dtype name, C-ordered bytes)
ext 2   a complex number: msgpack of (real, imaginary)
ext 3   a numpy scalar, in the form of an array
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import is_known, itemsize, to_numpy
from ckpt_core.storage import FileStorage
from ckpt_core.tree import Record
from ckpt_flax.msgpack.tokens import ARRAY, BIN, STR, VALUE, Cursor

__all__ = ["COMPLEX", "NDARRAY", "SCALAR", "read_extension"]

NDARRAY: Final = 1
COMPLEX: Final = 2
SCALAR: Final = 3

_TIMESTAMPS: Final = frozenset({(-1, 4), (-1, 8), (-1, 12)})
"""The one type of extension that the format itself defines, with the lengths that it may have."""

_FOREIGN: Final = re.compile(
    r"object|(?:str|bytes|void|record)[0-9]+|float(?:96|128)|complex(?:192|256)|u?int1|float[468]_e[0-9]m[0-9]\w*"
    r"|(?:datetime|timedelta)64(?:\[[0-9]*[a-zA-Zμ]+\])?"
)
"""The names of dtypes without a neutral name: text, dates, structures, extended precision (`numpy.dtype.name`)."""


def read_extension(cursor: Cursor, length: int) -> Any:
    """Read what follows the head of an extension of `length` bytes.

    Raises:
        DamagedFileError: it is none that msgpack or Flax knows, or does not fill its bytes.
    """
    code = cursor.ext_code()
    start = cursor.position
    stop = start + length
    if stop > cursor.end:
        raise cursor.cut_off()
    if code in (NDARRAY, SCALAR):
        value = _array(cursor, code)
    elif code == COMPLEX:
        value = _complex(cursor)
    else:
        signed = code - 256 if code > 127 else code
        if signed < 0 and (signed, length) not in _TIMESTAMPS:
            raise cursor.damaged(f"an extension of the reserved type {signed} has {length} bytes", start)
        value = Record("msgpack.ExtType", {"code": signed, "data": cursor.take(length)})
    if cursor.position != stop:
        raise cursor.damaged(
            f"an extension of {length} bytes holds a value of {cursor.position - start}", start
        )
    return value


def _array(cursor: Cursor, code: int) -> Any:
    """Read (shape, dtype name, bytes) and make an array over the bytes."""
    at = cursor.position
    if cursor.token() != (ARRAY, 3):
        raise cursor.damaged("an array is no triple of shape, dtype and bytes", at)
    shape = _shape(cursor)
    kind, length = cursor.token()
    if kind not in (STR, BIN) or length > 1000:
        raise cursor.damaged("an array has no dtype name", at)
    name = cursor.text(length)
    kind, nbytes = cursor.token()
    if kind not in (STR, BIN):
        raise cursor.damaged("an array has no bytes", at)
    start = cursor.position
    cursor.skip(nbytes)
    storage = FileStorage(cursor.source, start, nbytes)
    if not is_known(name):
        if not _FOREIGN.fullmatch(name):
            raise cursor.damaged(f"an array has the unknown dtype {name[:40]!r}", at)
        data = LazyArray((nbytes,), "uint8", storage)
        return Record("numpy.ndarray", {"shape": list(shape), "dtype": name, "data": data})
    if math.prod(shape) * itemsize(name) != nbytes:
        raise cursor.damaged(f"shape {shape[:16]} of {name} does not take {nbytes} bytes", at)
    if code == SCALAR and not shape:
        return np.frombuffer(storage.read(0, nbytes), to_numpy(name))[0]
    return LazyArray(shape, name, storage)


def _shape(cursor: Cursor) -> tuple[int, ...]:
    at = cursor.position
    kind, rank = cursor.token()
    if kind != ARRAY or rank > 64:
        raise cursor.damaged("an array has no shape of at most 64 dimensions", at)
    shape = []
    for _ in range(rank):
        kind, size = cursor.token()
        if kind != VALUE or type(size) is not int or size < 0:
            raise cursor.damaged("an array has an impossible shape", at)
        shape.append(size)
    return tuple(shape)


def _complex(cursor: Cursor) -> complex:
    at = cursor.position
    if cursor.token() == (ARRAY, 2):
        parts = [cursor.token() for _ in range(2)]
        if all(kind == VALUE and type(part) in (int, float) for kind, part in parts):
            return complex(*(part for _, part in parts))
    raise cursor.damaged("a complex number is no pair of numbers", at)
