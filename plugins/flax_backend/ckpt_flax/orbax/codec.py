"""Decode one compressed chunk with tensorstore, which is imported here and when OCDBT is read.

tensorstore never gets to see a path: the chunk's bytes are handed to it in memory, together with the checked
description of an array that is this one chunk.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import threading
from typing import Any

import numpy as np

from ckpt_core.errors import DamagedFileError, LimitError, MissingDependencyError
from ckpt_flax.orbax.bombs import check_chunk

__all__ = ["chunk_decoder", "has_tensorstore", "import_tensorstore"]


def import_tensorstore() -> Any:
    """Import tensorstore.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import tensorstore
    except ImportError as error:
        raise MissingDependencyError(
            "compressed and OCDBT Orbax checkpoints need tensorstore, which is not installed",
            remedy="pip install tensorstore",
        ) from error
    return tensorstore


def has_tensorstore() -> bool:
    """Say whether tensorstore is installed, without importing it."""
    return importlib.util.find_spec("tensorstore") is not None


class ChunkDecoder:
    """Decodes the chunks of all arrays that share a chunk shape, a dtype and codecs; for one thread.

    Arguments:
        spec: canonical JSON with the driver and the metadata of an array of one chunk.
        fills: parts of a shard that are not stored hold the fill value; else they are missing.
    """

    def __init__(self, spec: str, fills: bool) -> None:
        ts = import_tensorstore()
        self._spec = parsed = json.loads(spec)
        rank = len(parsed["metadata"]["shape"])
        self._key = ".".join("0" * rank) or "0"
        context = ts.Context({"cache_pool": {"total_bytes_limit": 0}})
        store = {"driver": "memory", "path": "chunk/"}
        try:
            self._bytes = ts.KvStore.open(store, context=context).result()
            self._array = ts.open(
                {**parsed, "kvstore": store, "recheck_cached_data": True, "fill_missing_data_reads": fills},
                context=context,
                open=True,
                assume_metadata=True,
            ).result()
            self._nbytes = math.prod(self._array.shape) * self._array.dtype.numpy_dtype.itemsize
        except Exception as error:  # tensorstore raises its own choice of built-in exceptions
            raise DamagedFileError(f"its codecs cannot be used ({_first_line(error)})") from error

    def decode(self, data: bytes, extent: tuple[int, ...]) -> memoryview:
        """Return the elements of a chunk in C order, native byte order.

        Arguments:
            data: the stored bytes.
            extent: how much of the chunk lies within the array; of a shard, the rest may not be stored.

        Raises:
            DamagedFileError: the bytes are not what the codecs produce.
            LimitError: they unpack to more than is declared, or than fits into memory.
        """
        check_chunk(self._spec, data, self._nbytes)
        _check_memory(self._nbytes)
        try:
            self._bytes.write(self._key, data).result()
            del data
            array = self._array[tuple(map(slice, extent))].read(order="C").result()
        except Exception as error:  # as above
            raise DamagedFileError(f"a chunk cannot be decoded ({_first_line(error)})") from error
        finally:
            self._bytes.write(self._key, None).result()
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _check_memory(nbytes: int) -> None:
    """Raise LimitError where there is no memory for a chunk and its copy: tensorstore would end the process."""
    try:
        np.empty(2 * nbytes, np.uint8)
    except MemoryError:
        raise LimitError(f"a chunk of {nbytes} bytes does not fit into memory") from None


def chunk_decoder(spec: str, fills: bool) -> ChunkDecoder:
    """Return this thread's decoder for a description, made once."""
    return _decoder(spec, fills, threading.get_ident())


@functools.lru_cache(maxsize=256)
def _decoder(spec: str, fills: bool, _: int) -> ChunkDecoder:
    return ChunkDecoder(spec, fills)


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__
