"""Storages: addressable runs of bytes behind arrays, read by position.

A storage's identity is what makes arrays tied: two arrays over one storage object share their bytes.

    FileStorage     bytes that lie in a file as they are; the kernel can copy them
    MemoryStorage   bytes that are in memory already
    DecodedStorage  bytes that a decoder produces as a whole (a compressed chunk, escaped text)
    AbstractStorage no bytes, only their number
    MappedStorage   another storage with a function applied to each element (byte order, conjugation)
"""

from __future__ import annotations

import abc
import os
import threading
import weakref
import zlib
from collections.abc import Callable
from typing import Final

import numpy as np

from ckpt_core.errors import DamagedFileError, UnsupportedError
from ckpt_core.source import Source

__all__ = [
    "BLOCK",
    "AbstractStorage",
    "DecodedStorage",
    "FileStorage",
    "MappedStorage",
    "MemoryStorage",
    "Storage",
    "forget_decoded",
    "swap_bytes",
]

BLOCK: Final = 1 << 20
"""Bytes moved at a time by everything that streams."""


class Storage(abc.ABC):
    """A run of `nbytes` bytes."""

    __slots__ = ("__weakref__", "nbytes")

    nbytes: int

    @abc.abstractmethod
    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `offset` on; raises DamagedFileError when they are not there."""

    def verify(self) -> None:
        """Check what checksum the container carries, once; raises DamagedFileError when it does not match."""

    def read(self, offset: int, length: int) -> memoryview:
        """Return `length` bytes from `offset` on, in a fresh buffer."""
        buffer = np.empty(length, np.uint8)
        view = buffer.data
        if length:
            self.read_into(offset, view)
        return view


class FileStorage(Storage):
    """Bytes `start .. start + nbytes` of a source, with the CRC-32 that the container states, if any."""

    __slots__ = ("crc32", "source", "start")

    def __init__(self, source: Source, start: int, nbytes: int, crc32: int | None = None) -> None:
        if start < 0 or nbytes < 0 or start + nbytes > source.size:
            raise DamagedFileError(
                f"bytes {start} to {start + nbytes} are declared, the file has {source.size}",
                path=source.path,
            )
        self.source = source
        self.start = start
        self.nbytes = nbytes
        self.crc32 = crc32 if source.verify else None

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.source.read_into(self.start + offset, buffer)
        if self.crc32 is not None and offset == 0 and len(buffer) == self.nbytes:
            self.confirm(zlib.crc32(buffer))

    def confirm(self, crc32: int) -> None:
        """Compare a CRC-32 computed over all the bytes with the stated one, and remember that it matched."""
        if self.crc32 is None:
            return
        if crc32 != self.crc32:
            raise DamagedFileError(
                f"checksum mismatch: CRC-32 is {crc32:08x}, the file states {self.crc32:08x}",
                path=self.source.path,
                place=f"bytes {self.start} to {self.start + self.nbytes}",
                remedy="The file is corrupt; fetch it again (verify=False or --no-verify reads it as it is).",
            )
        self.crc32 = None

    def verify(self) -> None:
        if self.crc32 is None:
            return
        crc = 0
        block = memoryview(bytearray(min(BLOCK, max(self.nbytes, 1))))
        for offset in range(0, self.nbytes, BLOCK):
            part = block[: min(BLOCK, self.nbytes - offset)]
            self.source.read_into(self.start + offset, part)
            crc = zlib.crc32(part, crc)
        self.confirm(crc)


class MemoryStorage(Storage):
    """Bytes in memory, shared and never changed."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data: bytes | memoryview = data if isinstance(data, bytes) else _flat(data)
        self.nbytes = len(self._data)

    @property
    def data(self) -> memoryview:
        """The bytes; the view is made when it is asked for, since it is larger than a small array."""
        return memoryview(self._data)

    @property
    def address(self) -> int:
        """Where in memory the bytes begin."""
        return int(np.frombuffer(self.data, np.uint8).__array_interface__["data"][0])

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.data[offset : offset + len(buffer)]


class AbstractStorage(Storage):
    """No bytes at all, only their number: behind the arrays of a template."""

    __slots__ = ()

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes

    def read_into(self, offset: int, buffer: memoryview) -> None:
        raise UnsupportedError("an abstract array has a shape and a dtype, and no bytes")


def _flat(data: bytearray | memoryview) -> bytes | memoryview:
    view = memoryview(data)
    return view.cast("B") if view.nbytes else b""  # an empty view of several dimensions cannot be cast


class DecodedStorage(Storage):
    """Bytes that `decode` produces as a whole; the last one decoded is kept, so that slices are cheap.

    Arguments:
        nbytes: the decoded length; anything else that `decode` returns is an error.
        decode: returns the decoded bytes, and raises DamagedFileError where it cannot. One thread at a time
            calls it.
    """

    __slots__ = ("decode",)

    def __init__(self, nbytes: int, decode: Callable[[], bytes | bytearray | memoryview]) -> None:
        self.nbytes = nbytes
        self.decode = decode

    def decoded(self) -> memoryview:
        """Return all the bytes, from the cache of one or from the decoder."""
        with _last.lock:
            found = _last.data_of(self)
            if found is not None:
                return found
            _last.clear()
            data = memoryview(self.decode())
            data = data.cast("B") if data.nbytes else memoryview(b"")
            if data.nbytes != self.nbytes:
                raise DamagedFileError(f"decodes to {data.nbytes} bytes where {self.nbytes} are declared")
            _last.keep(self, data)
            return data

    def read_into(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.decoded()[offset : offset + len(buffer)]


class _LastDecoded:
    """The one decoded storage that is kept: memory stays bounded by the largest chunk, and goes with its owner."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.lock = threading.RLock()
        self.clear()

    def clear(self) -> None:
        self._kept: tuple[weakref.ref[DecodedStorage] | None, memoryview] = None, memoryview(b"")

    def keep(self, owner: DecodedStorage, data: memoryview) -> None:
        self._kept = weakref.ref(owner, self._forget), data

    def data_of(self, owner: DecodedStorage) -> memoryview | None:
        reference, data = self._kept  # read once: another thread may be letting go of it
        return data if reference is not None and reference() is owner else None

    def _forget(self, reference: weakref.ref[DecodedStorage]) -> None:
        if self._kept[0] is reference:
            self.clear()


_last = _LastDecoded()
if hasattr(os, "register_at_fork"):  # the thread that holds the lock may not be in the new process
    os.register_at_fork(after_in_child=_last.renew)


def forget_decoded() -> None:
    """Let go of the decoded storage that is kept, when the work that needed it is done."""
    with _last.lock:
        _last.clear()


class MappedStorage(Storage):
    """Another storage, each element of `itemsize` bytes changed in place by `change`.

    Arguments:
        inner: the storage as it lies in the file.
        itemsize: bytes per element; reads are widened to whole elements.
        change: takes a writable uint8 array of whole elements and changes it.
    """

    __slots__ = ("change", "inner", "itemsize")

    def __init__(self, inner: Storage, itemsize: int, change: Callable[[np.ndarray], None]) -> None:
        self.inner = inner
        self.nbytes = inner.nbytes - inner.nbytes % itemsize
        self.itemsize = itemsize
        self.change = change

    def verify(self) -> None:
        self.inner.verify()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        low = offset - offset % self.itemsize
        high = -(-(offset + len(buffer)) // self.itemsize) * self.itemsize
        if (low, high) == (offset, offset + len(buffer)):
            self.inner.read_into(offset, buffer)
            self.change(np.frombuffer(buffer, np.uint8))
            return
        whole = np.frombuffer(self.inner.read(low, high - low), np.uint8)
        self.change(whole)
        buffer[:] = whole.data[offset - low : offset - low + len(buffer)]


def swap_bytes(width: int) -> Callable[[np.ndarray], None]:
    """Return the change that reverses the byte order of words of `width` bytes."""

    def change(data: np.ndarray) -> None:
        words = data.view(f"u{width}")
        words.byteswap(inplace=True)

    return change
