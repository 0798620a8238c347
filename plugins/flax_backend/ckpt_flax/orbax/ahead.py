"""Decode the chunks that follow while one is used, when chunks are asked for in their order.

Decoding is slower than everything around it, and a conversion takes one chunk after the other. Only what fits
a budget is decoded ahead, so that memory stays bounded by the budget or the largest chunk.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

from ckpt_core.errors import CheckpointError
from ckpt_core.storage import FileStorage
from ckpt_flax.orbax.codec import chunk_decoder
from ckpt_flax.orbax.zstd import decode_frame, has_zstandard, is_one_frame, room_for

__all__ = ["Chunk", "Coding", "Series", "length_of"]

_WORKERS: Final = max(2, min(os.cpu_count() or 2, 4))
_BUDGET: Final = 16 << 20
"""Bytes that may be under way or waiting, and half as many again as the largest chunk has, stored and decoded."""

_WINDOW: Final = 4 << 20
"""Bytes that unpacking piece by piece takes beside those that it makes, at most, where a frame is as Orbax writes."""


class Coding(NamedTuple):
    """How chunks are coded: for tensorstore, and with unstored parts of shards as fill values or not."""

    spec: str
    fills: bool


class Series:
    """The chunks of one checkpoint in their order.

    Arguments:
        path: the checkpoint, for errors.
    """

    __slots__ = ("largest", "last", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.last: Chunk | None = None
        self.largest = 0

    def append(self, chunk: Chunk) -> None:
        """Take in the next one."""
        if self.last is not None:
            self.last.after = chunk
        self.last = chunk
        self.largest = max(self.largest, chunk.nbytes + length_of(chunk.stored))


class Chunk:
    """One stored chunk, decoded when it is called.

    Arguments:
        series: the chunks of its checkpoint, of which it is the next.
        coding: how it is coded.
        stored: its bytes, or their place in a file.
        extent: the elements of it that lie within the array, per dimension.
        nbytes: the decoded length of the whole chunk.
        name: the array that it belongs to.
        key: which of the array's chunks it is.
    """

    __slots__ = ("after", "coding", "extent", "key", "name", "nbytes", "series", "stored")

    def __init__(
        self,
        series: Series,
        coding: Coding,
        stored: bytes | FileStorage,
        extent: tuple[int, ...],
        nbytes: int,
        name: str,
        key: str,
    ) -> None:
        self.series = series
        self.coding = coding
        self.stored = stored
        self.extent = extent
        self.nbytes = nbytes
        self.name = name
        self.key = key
        self.after: Chunk | None = None
        series.append(self)

    def __call__(self) -> memoryview:
        return _ahead.take(self)

    def room(self) -> memoryview | None:
        """Return the memory that decoding it takes, where it is known before."""
        return room_for(self.coding.spec, length_of(self.stored), self.nbytes)

    def decode(self, room: memoryview | None) -> memoryview:
        """Read and decode into the memory that `room` returned; raises DamagedFileError that names the chunk."""
        spec, stored = self.coding.spec, length_of(self.stored)
        try:
            if is_one_frame(spec):
                decoded = decode_frame(spec, self._read, stored, self.nbytes, self.extent, room)
                if decoded is not None:
                    return decoded
            return chunk_decoder(spec, self.coding.fills).decode(self._read(0, stored), self.extent)
        except CheckpointError as error:
            raise error.located(self.series.path, f"{self.name}/{self.key}") from error.__cause__

    @property
    def cost(self) -> int:
        """The bytes that decoding it takes."""
        if has_zstandard() and is_one_frame(self.coding.spec):
            return self.nbytes + min(length_of(self.stored), _WINDOW)
        return 2 * self.nbytes + length_of(self.stored)  # tensorstore makes a copy

    def _read(self, offset: int, length: int) -> bytes:
        if isinstance(self.stored, bytes):
            return self.stored[offset : offset + length]
        return self.stored.source.read(self.stored.start + offset, length)


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
        decoded = chunk.decode(chunk.room()) if found is None else found.result()
        with self.lock:  # its stored bytes are gone, which may make room for one more
            if in_order and self.expected is chunk.after:
                self._start(chunk.after, chunk.nbytes)
        return decoded

    def _start(self, following: Chunk | None, held: int) -> None:
        """Decode what follows as far as the budget allows, of which `held` bytes are taken by the chunk in use."""
        if following is None:
            return
        taken = [chunk.nbytes if future.done() else chunk.cost for chunk, future in self.waiting.items()]
        budget = _BUDGET + 3 * following.series.largest // 2 - held - sum(taken)
        while following is not None and len(self.waiting) < 2 * _WORKERS:
            if following not in self.waiting:
                budget -= following.cost
                if budget < 0:
                    return
                if self.pool is None:
                    self.pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="ckpt-decode")
                self.waiting[following] = self.pool.submit(following.decode, following.room())
            following = following.after


_ahead = _Ahead()
