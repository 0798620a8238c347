"""Decode the chunks that follow while one is used, when chunks are asked for in their order.

Decoding is slower than everything around it, and a conversion takes one chunk after the other. Only what fits
a budget is decoded ahead, so that memory stays bounded by the budget or the largest chunk.
"""

from __future__ import annotations

import functools
import os
import weakref
from concurrent.futures import Executor, Future
from typing import Final, NamedTuple

from ckpt_core.errors import CheckpointError, LimitError
from ckpt_core.storage import FileStorage
from ckpt_flax.orbax.codec import chunk_decoder
from ckpt_flax.orbax.plain import codec_of, decode_plain, room_for

__all__ = ["Chunk", "Coding", "Series", "length_of"]

_WORKERS: Final = max(2, min(os.cpu_count() or 2, 4))
_AHEAD: Final = 2 * _WORKERS
"""Chunks after the one in use that may be."""

_BUDGET: Final = 16 << 20
"""Bytes that may be under way or waiting, and half as many again as the largest chunk has, stored and decoded."""

_SMALL: Final = 64 << 10
"""A chunk of up to so many bytes is decoded sooner than it is handed to a thread."""

_WINDOW: Final = 4 << 20
"""Bytes that unpacking piece by piece takes beside those that it makes, at most, where a frame is as Orbax writes."""


class Coding(NamedTuple):
    """How chunks are coded: for tensorstore, and with unstored parts of shards as fill values or not."""

    spec: str
    fills: bool


class Series:
    """The chunks of one checkpoint in their order, of which some are decoded before they are asked for.

    One thread at a time asks, as `DecodedStorage` sees to. Chunks are held weakly: what was decoded and is not
    asked for goes with them.

    Arguments:
        path: the checkpoint, for errors.
    """

    __slots__ = ("expected", "largest", "last", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.largest = 0
        self.last: weakref.ref[Chunk] | None = None
        self.expected: weakref.ref[Chunk] | None = None

    def append(self, chunk: Chunk) -> None:
        """Take in the next one."""
        before = self.last() if self.last is not None else None
        if before is not None:
            before.after = chunk
        self.last = weakref.ref(chunk)
        self.largest = max(self.largest, chunk.nbytes + length_of(chunk.stored))

    def take(self, chunk: Chunk) -> memoryview:
        """Return the decoded bytes of a chunk, and start on those after it if it was the expected one."""
        workers = _workers(os.getpid())
        expected = self.expected() if self.expected is not None else None
        found, chunk.ahead = chunk.ahead, None
        if expected is not chunk:
            _forget(expected)
        self.expected = weakref.ref(chunk.after) if chunk.after is not None else None
        if expected is chunk:
            self._start(workers, chunk.after, chunk.cost)
        if found is None or found.workers is not workers:
            decoded = chunk.decode(chunk.room())
        else:
            decoded = found.future.result()
        if (
            expected is chunk and chunk.nbytes > _SMALL
        ):  # its stored bytes are gone: there may be room for one more
            self._start(workers, chunk.after, chunk.nbytes)
        return decoded

    def _start(self, workers: _Workers, following: Chunk | None, held: int) -> None:
        """Decode what follows and is not small, as far as the budget allows.

        Of that, `held` bytes are taken by the chunk in use.
        """
        budget = _BUDGET + 3 * self.largest // 2 - held
        for _ in range(_AHEAD):
            if following is None:
                return
            ahead = following.ahead
            if ahead is not None and ahead.workers is workers:
                budget -= following.nbytes if ahead.future.done() else following.cost
            elif following.nbytes > _SMALL:
                budget -= following.cost
                following.ahead = workers.start(following) if budget >= 0 else None
                if following.ahead is None:
                    return
            following = following.after


def _forget(chunk: Chunk | None) -> None:
    """Let go of what was decoded from a chunk on."""
    for _ in range(_AHEAD):
        if chunk is None:
            return
        if chunk.ahead is not None:
            chunk.ahead.future.cancel()
            chunk.ahead = None
        chunk = chunk.after


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

    __slots__ = (
        "__weakref__",
        "after",
        "ahead",
        "coding",
        "extent",
        "key",
        "name",
        "nbytes",
        "series",
        "stored",
    )

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
        self.ahead: _Ahead | None = None
        series.append(self)

    def __call__(self) -> memoryview:
        return self.series.take(self)

    def room(self) -> memoryview | None:
        """Return the memory that decoding it takes, where it is known before; raises LimitError without it."""
        try:
            return room_for(self.coding.spec, length_of(self.stored), self.nbytes)
        except MemoryError:
            error = LimitError(f"a chunk of {self.nbytes} bytes does not fit into memory")
            raise error.located(self.series.path, f"{self.name}/{self.key}") from None

    def decode(self, room: memoryview | None) -> memoryview:
        """Read and decode into the memory that `room` returned; raises DamagedFileError that names the chunk."""
        spec, stored = self.coding.spec, length_of(self.stored)
        try:
            decoded = decode_plain(spec, self._read, stored, self.nbytes, self.extent, room)
            if decoded is not None:
                return decoded
            return chunk_decoder(spec, self.coding.fills).decode(self._read(0, stored), self.extent)
        except CheckpointError as error:
            raise error.located(self.series.path, f"{self.name}/{self.key}") from error.__cause__

    @property
    def cost(self) -> int:
        """The bytes that decoding it takes."""
        if codec_of(self.coding.spec) is not None:
            return self.nbytes + min(length_of(self.stored), _WINDOW)
        return 2 * (self.nbytes + length_of(self.stored))  # tensorstore makes copies

    def _read(self, offset: int, length: int) -> bytes:
        if isinstance(self.stored, bytes):
            return self.stored[offset : offset + length]
        return self.stored.source.read(self.stored.start + offset, length)


def length_of(stored: bytes | FileStorage) -> int:
    """Return the number of bytes of a chunk as it is stored."""
    return len(stored) if isinstance(stored, bytes) else stored.nbytes


class _Ahead(NamedTuple):
    """A chunk that is being decoded, and by which threads: after a fork they are not there."""

    workers: _Workers
    future: Future[memoryview]


class _Workers:
    """The threads of a process that decode, made when they are first needed."""

    def __init__(self) -> None:
        self._pool: Executor | None = None
        self._are_refused = False

    def start(self, chunk: Chunk) -> _Ahead | None:
        """Begin to decode a chunk; None where that has to wait until it is asked for."""
        if self._are_refused:
            return None
        try:
            room = chunk.room()
        except CheckpointError:
            return None
        try:
            if self._pool is None:
                # here, since at the interpreter's end this import fails, too
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="ckpt-decode")
            return _Ahead(self, self._pool.submit(chunk.decode, room))
        except RuntimeError:  # the interpreter ends, or the system gives no more threads
            self._are_refused, self._pool = True, None
            return None


@functools.cache
def _workers(_: int) -> _Workers:
    """Return the threads of the process of that number: a fork has none of its parent's."""
    return _Workers()
