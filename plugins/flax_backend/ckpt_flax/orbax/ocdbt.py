"""Write arrays into an OCDBT database with tensorstore.

Keys are those of zarr 2 (`NAME/.zarray`, `NAME/0.0`), and chunks are uncompressed, so the values are written
as they are. Large arrays are cut into chunks, and values are committed in batches, so that memory stays bounded.
"""

from __future__ import annotations

import ctypes
import functools
import math
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import itemsize
from ckpt_core.errors import TargetError
from ckpt_core.sink import Sink
from ckpt_core.storage import forget_decoded
from ckpt_flax.orbax.codec import import_tensorstore
from ckpt_flax.orbax.store import prefix_of
from ckpt_flax.orbax.writing import Entry, array_document

__all__ = ["write_database"]

CHUNK: Final = 4 << 20
"""Bytes of one value at most."""

_BATCH_BYTES: Final = 16 << 20
_BATCH_VALUES: Final = 20_000


def write_database(entries: Iterable[Entry], sink: Sink) -> None:
    """Write arrays into a database in the sink's directory.

    Raises:
        MissingDependencyError: tensorstore is not installed.
        TargetError: the system refuses.
    """
    ts = import_tensorstore()
    directory = sink.directory().rstrip("/") + "/"
    context = ts.Context({"file_io_sync": False, "cache_pool": {"total_bytes_limit": 0}})
    spec = {
        "driver": "ocdbt",
        "base": {"driver": "file", "path": directory},
        "config": {"max_inline_value_bytes": 1024},
    }
    try:
        store = ts.KvStore.open(spec, context=context).result()
        batch = _Batch(ts, store)
        for entry in entries:
            for key, value in _values(entry):
                batch.write(key, value)
        batch.commit()
    except (ValueError, OSError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise TargetError(f"cannot be written: {reason}", path=sink.target) from error


class _Batch:
    """Values that are committed together."""

    def __init__(self, ts: Any, store: Any) -> None:
        self.ts = ts
        self.store = store
        self.clear()

    def clear(self) -> None:
        self.transaction = self.ts.Transaction()
        self.target = self.store.with_transaction(self.transaction)
        self.nbytes = self.count = 0

    def write(self, key: bytes, value: bytes) -> None:
        self.target.write(key, value).result()
        self.nbytes += len(value)
        self.count += 1
        if self.nbytes >= _BATCH_BYTES or self.count >= _BATCH_VALUES:
            self.commit()

    def commit(self) -> None:
        self.transaction.commit_async().result()
        self.clear()
        _return_freed_memory()


def _return_freed_memory() -> None:
    """Give back what a commit freed: its threads have a heap each, and glibc keeps what is freed in them."""
    trim = getattr(_libc(), "malloc_trim", None)
    if trim is not None:
        trim(0)


@functools.cache
def _libc() -> Any:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def _values(entry: Entry) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of one array: its document, then its chunks."""
    name, array = entry.name, entry.array
    prefix = prefix_of(name)
    array.verify()
    chunks = _chunks(array)
    yield f"{prefix}.zarray".encode(), array_document(array.shape, array.dtype, chunks)
    if not array.size:
        return
    if chunks == array.shape:
        key = ".".join("0" * array.ndim) or "0"
        yield f"{prefix}{key}".encode(), array.read().tobytes()
    else:
        grid = [-(-size // chunk) for size, chunk in zip(array.shape, chunks, strict=True)]
        for index in np.ndindex(*grid):
            yield f"{prefix}{'.'.join(map(str, index))}".encode(), _padded(array, chunks, index)
    forget_decoded()


def _chunks(array: LazyArray) -> tuple[int, ...]:
    """Return a chunk shape of at most CHUNK bytes whose chunks follow one another in C order."""
    chunks = list(array.shape)
    width = itemsize(array.dtype)
    for axis in range(array.ndim):
        rest = math.prod(array.shape[axis + 1 :]) * width
        if math.prod(chunks) * width <= CHUNK or not array.size:
            break
        chunks[axis] = max(min(CHUNK // rest, array.shape[axis]), 1)
    return tuple(chunks)


def _padded(array: LazyArray, chunks: tuple[int, ...], index: tuple[int, ...]) -> bytes:
    """Return the bytes of one chunk; those at the edges are filled up with zeros."""
    part = array[tuple(slice(i * chunk, (i + 1) * chunk) for i, chunk in zip(index, chunks, strict=True))]
    if part.shape == chunks:
        return part.tobytes()
    whole = np.zeros(chunks, part.dtype)
    whole[tuple(slice(0, size) for size in part.shape)] = part
    return whole.tobytes()
