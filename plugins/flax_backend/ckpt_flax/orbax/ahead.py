"""Decode the chunks that follow while one is used, when chunks are asked for in their order.

Decoding is slower than everything around it, and a conversion takes one chunk after the other. Only what fits
a budget is decoded ahead, so that memory stays bounded by the budget or the largest chunk.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

from ckpt_core.errors import CheckpointError
from ckpt_core.storage import FileStorage
from ckpt_flax.orbax.codec import chunk_decoder
from ckpt_flax.orbax.zstd import decode_frame, is_one_frame

__all__ = ["Chunk", "Coding", "length_of"]

_WORKERS: Final = 2
_BUDGET: Final = 66 << 20
"""Bytes, stored and decoded together, that may be under way or waiting."""


class Coding(NamedTuple):
    """How chunks are coded: for tensorstore, with unstored parts of shards as fill values or not; and where."""

    spec: str
    fills: bool
    path: str


class Chunk:
    """One stored chunk, decoded when it is called.

    Arguments:
        coding: how it is coded.
        stored: its bytes, or their place in a file.
        extent: the elements of it that lie within the array, per dimension.
        nbytes: the decoded length of the whole chunk.
        name: the array that it belongs to.
        key: which of the array's chunks it is.
        before: the chunk that comes before it in the checkpoint.
    """

    __slots__ = ("after", "coding", "extent", "key", "name", "nbytes", "stored")

    def __init__(
        self,
        coding: Coding,
        stored: bytes | FileStorage,
        extent: tuple[int, ...],
        nbytes: int,
        name: str,
        key: str,
        before: Chunk | None,
    ) -> None:
        self.coding = coding
        self.stored = stored
        self.extent = extent
        self.nbytes = nbytes
        self.name = name
        self.key = key
        self.after: Chunk | None = None
        if before is not None:
            before.after = self

    def __call__(self) -> memoryview:
        return _ahead.take(self)

    def decode(self) -> memoryview:
        """Read and decode; raises DamagedFileError that names the chunk."""
        try:
            data = self._read()
            if is_one_frame(self.coding.spec):
                decoded = decode_frame(self.coding.spec, data, self.nbytes, self.extent)
                if decoded is not None:
                    return decoded
            return chunk_decoder(self.coding.spec, self.coding.fills).decode(data, self.extent)
        except CheckpointError as error:
            raise error.located(self.coding.path, f"{self.name}/{self.key}") from error.__cause__

    @property
    def cost(self) -> int:
        """The bytes that decoding it takes."""
        return self.nbytes + length_of(self.stored)

    def _read(self) -> bytes:
        if isinstance(self.stored, bytes):
            return self.stored
        return self.stored.source.read(self.stored.start, self.stored.nbytes)


def length_of(stored: bytes | FileStorage) -> int:
    """Return the number of bytes of a chunk as it is stored."""
    return len(stored) if isinstance(stored, bytes) else stored.nbytes


class _Ahead:
    """The chunks that are decoded before they are asked for; one consumer in order, or none."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pool: ThreadPoolExecutor | None = None
        self.expected: Chunk | None = None
        self.waiting: dict[Chunk, Future[memoryview]] = {}

    def take(self, chunk: Chunk) -> memoryview:
        """Return the decoded bytes of a chunk, and start on those after it if it was the expected one."""
        with self.lock:
            in_order = chunk is self.expected
            found = self.waiting.pop(chunk, None)
            if not in_order:
                for future in self.waiting.values():
                    future.cancel()
                self.waiting.clear()
            self.expected = chunk.after
            if in_order:
                self._start(chunk.after, chunk.cost)
        decoded = chunk.decode() if found is None else found.result()
        with self.lock:  # its stored bytes are gone, which may make room for one more
            if in_order and self.expected is chunk.after:
                self._start(chunk.after, chunk.nbytes)
        return decoded

    def _start(self, following: Chunk | None, held: int) -> None:
        """Decode what follows as far as the budget allows, of which `held` bytes are taken by the chunk in use."""
        taken = [chunk.nbytes if future.done() else chunk.cost for chunk, future in self.waiting.items()]
        budget = _BUDGET - held - sum(taken)
        while following is not None and len(self.waiting) < 2 * _WORKERS:
            if following not in self.waiting:
                budget -= following.cost
                if budget < 0:
                    return
                if self.pool is None:
                    self.pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="ckpt-decode")
                self.waiting[following] = self.pool.submit(following.decode)
            following = following.after


_ahead = _Ahead()
