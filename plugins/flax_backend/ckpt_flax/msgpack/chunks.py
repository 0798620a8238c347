"""Arrays of more than 1 GiB, which Flax writes in chunks (`flax/serialization.py`):

{"__msgpack_chunked_array__": true, "shape": {"0": n, ...}, "chunks": {"0": flat array, ...}}
"""

from __future__ import annotations

import math
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.storage import Storage
from ckpt_flax.msgpack.tokens import Cursor

__all__ = ["CHUNKED", "unchunked"]

CHUNKED: Final = "__msgpack_chunked_array__"


class _Joined(Storage):
    """Several storages as one run of bytes."""

    __slots__ = ("parts", "starts")

    def __init__(self, parts: list[Storage]) -> None:
        self.parts = parts
        self.starts = [0]
        for part in parts:
            self.starts.append(self.starts[-1] + part.nbytes)
        self.nbytes = self.starts[-1]

    def verify(self) -> None:
        for part in self.parts:
            part.verify()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        stop = offset + len(buffer)
        for part, start in zip(self.parts, self.starts[:-1], strict=True):
            low, high = max(offset, start), min(stop, start + part.nbytes)
            if low < high:
                part.read_into(low - start, buffer[low - offset : high - offset])


def unchunked(value: dict[Any, Any], cursor: Cursor) -> LazyArray:
    """Return the array that a dictionary of chunks stands for.

    Raises:
        DamagedFileError: the chunks are not flat, of one dtype, or do not fill the shape.
    """
    shape, chunks = _numbered(value.get("shape")), _numbered(value.get("chunks"))
    if shape is None or not all(type(size) is int and size >= 0 for size in shape):
        raise cursor.damaged("an array in chunks has no shape")
    if not chunks or not all(isinstance(chunk, LazyArray) for chunk in chunks):
        raise cursor.damaged("an array in chunks has no chunks")
    dtype = chunks[0].dtype
    if any(chunk.dtype != dtype or chunk.ndim != 1 for chunk in chunks):
        raise cursor.damaged("an array in chunks has chunks that differ in dtype, or are not flat")
    if sum(chunk.size for chunk in chunks) != math.prod(shape):
        raise cursor.damaged(f"the chunks do not fill the shape {tuple(shape[:16])}")
    storages = [chunk.pieces[0].storage for chunk in chunks]
    return LazyArray(tuple(shape), dtype, storages[0] if len(storages) == 1 else _Joined(storages))


def _numbered(value: Any) -> list[Any] | None:
    """Return the values of {"0": ..., "1": ...}, in order, or None when it is not that."""
    if type(value) is not dict or not all(str(index) in value for index in range(len(value))):
        return None
    return [value[str(index)] for index in range(len(value))]
