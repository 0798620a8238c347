"""Where the arrays of an item lie: files of their own, or one OCDBT database.

A store finds bytes by name. Every byte is read through Source, so that links and names that lead out of the
directory are refused.
"""

from __future__ import annotations

import abc
from typing import Any, Final

from ckpt_core.errors import CheckpointNotFoundError, DamagedFileError, LimitError
from ckpt_core.source import Source
from ckpt_core.storage import FileStorage
from ckpt_flax.orbax.btree import Reference
from ckpt_flax.orbax.database import Database

__all__ = ["OcdbtStore", "PlainStore", "Store", "prefix_of"]

DOCUMENTS: Final = (".zarray", "zarr.json")
_MAX_DOCUMENT: Final = 1 << 20

Found = tuple[bytes, Any]
"""The `.zarray` or `zarr.json` of an array, and what the store knows its chunks by."""


class Store(abc.ABC):
    """Named arrays, each a zarr document and chunks."""

    @abc.abstractmethod
    def names(self) -> list[str]:
        """Return the names of all arrays."""

    @abc.abstractmethod
    def find(self, name: str) -> Found | None:
        """Return where an array is, or None when there is no such array."""

    @abc.abstractmethod
    def chunk(self, found: Found, key: str) -> bytes | FileStorage | None:
        """Return a chunk as it is stored, in memory or its place in a file, or None when it is not there."""


class PlainStore(Store):
    """Arrays as directories `NAME/.zarray` or `NAME/zarr.json` with one file per chunk."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def names(self) -> list[str]:
        found = []
        for name in self.source.members():
            if any(self.source.has(f"{name}/{document}") for document in DOCUMENTS):
                found.append(name)
        return found

    def find(self, name: str) -> Found | None:
        # '/' in a key makes nested directories, and an empty one vanishes from the path.
        array = _entry(self.source, "/".join(part for part in name.split("/") if part))
        if array is None:
            return None
        for document in DOCUMENTS:
            data = array.small(document, _MAX_DOCUMENT)
            if data is not None:
                return data, array
        return None

    def chunk(self, found: Found, key: str) -> FileStorage | None:
        chunk = _entry(found[1], key)
        if chunk is None:
            return None
        if chunk.is_directory:
            raise DamagedFileError("is a directory where a chunk is expected", path=chunk.path)
        return FileStorage(chunk, 0, chunk.size)


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

    def find(self, name: str) -> Found | None:
        prefix = prefix_of(name)
        for document in DOCUMENTS:
            value = self._values.get(prefix + document)
            if isinstance(value, bytes):
                return value, prefix
            if value is not None:
                return self._document_at(value, prefix + document), prefix
        return None

    def chunk(self, found: Found, key: str) -> bytes | FileStorage | None:
        value = self._values.get(found[1] + key)
        return value if value is None or isinstance(value, bytes) else self._database.window(value)

    def _document_at(self, place: Reference, key: str) -> bytes:
        if place.length > _MAX_DOCUMENT:
            raise LimitError(f"a zarr document of {place.length} bytes", path=self.source.path, place=key)
        return self._database.read(place)
