"""Where the arrays of an item lie: files of their own, or one OCDBT database.

A store finds bytes by name. Every byte is read through Source, so that links and names that lead out of the
directory are refused.
"""

from __future__ import annotations

import abc
from typing import Final

from ckpt_core.errors import CheckpointNotFoundError, DamagedFileError, LimitError
from ckpt_core.source import Source
from ckpt_core.storage import FileStorage, MemoryStorage, Storage
from ckpt_flax.orbax.database import Database

__all__ = ["OcdbtStore", "PlainStore", "Store", "prefix_of"]

DOCUMENTS: Final = (".zarray", "zarr.json")
_MAX_DOCUMENT: Final = 1 << 20


class Store(abc.ABC):
    """Named arrays, each a zarr document and chunks."""

    @abc.abstractmethod
    def names(self) -> list[str]:
        """Return the names of all arrays."""

    @abc.abstractmethod
    def document(self, name: str) -> bytes | None:
        """Return an array's `.zarray` or `zarr.json`, or None when there is no such array."""

    @abc.abstractmethod
    def chunk(self, name: str, key: str) -> Storage | None:
        """Return the bytes of a chunk as they are stored, or None when it is not there."""

    @abc.abstractmethod
    def file(self, name: str) -> bytes | None:
        """Return the bytes of a small value that is no array, or None when it is not there."""


class PlainStore(Store):
    """Arrays as directories `NAME/.zarray` or `NAME/zarr.json` with one file per chunk."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._last: tuple[str, Source | None] = ("", source)

    def names(self) -> list[str]:
        found = []
        for name in self.source.members():
            if any(self.source.has(f"{name}/{document}") for document in DOCUMENTS):
                found.append(name)
        return found

    def document(self, name: str) -> bytes | None:
        array = self._array(name)
        if array is None:
            return None
        for document in DOCUMENTS:
            data = array.small(document, _MAX_DOCUMENT)
            if data is not None:
                return data
        return None

    def chunk(self, name: str, key: str) -> Storage | None:
        array = self._array(name)
        chunk = None if array is None else _entry(array, key)
        if chunk is None:
            return None
        if chunk.is_directory:
            raise DamagedFileError("is a directory where a chunk is expected", path=chunk.path)
        return FileStorage(chunk, 0, chunk.size)

    def file(self, name: str) -> bytes | None:
        return self.source.small(name, _MAX_DOCUMENT)

    def _array(self, name: str) -> Source | None:
        if name != self._last[0]:
            # '/' in a key makes nested directories, and an empty one vanishes from the path.
            path = "/".join(part for part in name.split("/") if part)
            self._last = name, _entry(self.source, path)
        return self._last[1]


def _entry(source: Source, name: str) -> Source | None:
    try:
        return source.entry(name) if name else source
    except CheckpointNotFoundError:
        return None


def prefix_of(name: str) -> str:
    """Return what the keys of an array begin with in a database.

    tensorstore ends the name with a slash where it has none; an array without a name stands at the root.
    """
    name = name.removesuffix("/")
    return f"{name}/" if name else ""


class OcdbtStore(Store):
    """Arrays as keys `NAME/.zarray`, `NAME/0.0` of an OCDBT database."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._database = Database(source)
        self._values = self._database.values

    def names(self) -> list[str]:
        suffixes = tuple(f"/{document}" for document in DOCUMENTS)
        return [key.rpartition("/")[0] for key in self._values if f"/{key}".endswith(suffixes)]

    def document(self, name: str) -> bytes | None:
        for document in DOCUMENTS:
            data = self.file(prefix_of(name) + document)
            if data is not None:
                return data
        return None

    def file(self, name: str) -> bytes | None:
        value = self._values.get(name)
        if value is None or isinstance(value, bytes):
            return value
        if value.length > _MAX_DOCUMENT:
            raise LimitError(f"a zarr document of {value.length} bytes", path=self.source.path, place=name)
        return self._database.read(value)

    def chunk(self, name: str, key: str) -> Storage | None:
        value = self._values.get(prefix_of(name) + key)
        if value is None:
            return None
        return MemoryStorage(value) if isinstance(value, bytes) else self._database.window(value)
