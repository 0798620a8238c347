"""Where the arrays of an item lie: files of their own, or one OCDBT database.

A store finds bytes by name. Every byte is read through Source, so that links and names that lead out of the
directory are refused; tensorstore only unpacks the nodes of an OCDBT tree, whose references are checked
before they are followed.
"""

from __future__ import annotations

import abc
import re
import urllib.parse
from typing import Any, Final

from ckpt_core.errors import (
    CheckpointNotFoundError,
    DamagedFileError,
    LimitError,
    UnsupportedError,
)
from ckpt_core.source import Source
from ckpt_core.storage import FileStorage, MemoryStorage, Storage
from ckpt_flax.orbax.bombs import ZSTD_MAGIC, zstd_bound
from ckpt_flax.orbax.codec import import_tensorstore

__all__ = ["OcdbtStore", "PlainStore", "Store"]

DOCUMENTS: Final = (".zarray", "zarr.json")
_MAX_DOCUMENT: Final = 1 << 20
_MAX_KEYS: Final = 20_000_000
_MAX_NODE: Final = 1 << 28
_NODE_HEADER: Final = 32
"""Bytes in which the compressed part of a node begins: magic number, length, version and compression."""

_LOCATION: Final = re.compile(r"(?:btreenode|value):([^:]*:[^:]*):(\d{1,19}):(\d{1,19})\Z")


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
        self._arrays: dict[str, Source | None] = {}

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
            data = _small(array, document)
            if data is not None:
                return data
        return None

    def chunk(self, name: str, key: str) -> Storage | None:
        array = self._array(name)
        chunk = None if array is None else _member(array, key)
        if chunk is None:
            return None
        if chunk.is_directory:
            raise DamagedFileError("is a directory where a chunk is expected", path=chunk.path)
        return FileStorage(chunk, 0, chunk.size)

    def file(self, name: str) -> bytes | None:
        return _small(self.source, name)

    def _array(self, name: str) -> Source | None:
        if name not in self._arrays:
            # '/' in a key makes nested directories, and an empty one vanishes from the path.
            self._arrays[name] = _member(self.source, "/".join(part for part in name.split("/") if part))
        return self._arrays[name]


def _member(source: Source, name: str) -> Source | None:
    try:
        return source.member(name) if name else source
    except CheckpointNotFoundError:
        return None


def _key(name: str, part: str) -> str:
    """Return a key of the database; an array without a name stands at its root."""
    return f"{name}/{part}" if name else part


def _small(source: Source, name: str) -> bytes | None:
    member = _member(source, name)
    if member is None:
        return None
    if member.size > _MAX_DOCUMENT:
        raise LimitError(f"a zarr document of {member.size} bytes", path=member.path)
    return member.read(0, member.size)


class OcdbtStore(Store):
    """Arrays as keys `NAME/.zarray`, `NAME/0.0` of an OCDBT database (tensorstore's `ocdbt` driver).

    The whole tree is walked once: small values lie in its nodes, large ones in windows of data files.

    Arguments:
        source: the directory that holds `manifest.ocdbt`.

    Raises:
        DamagedFileError: a node is damaged, or refers to bytes that are not there.
        UnsafePathError: it refers to a file outside of the directory.
        MissingDependencyError: tensorstore is not installed.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        manifest = source.member("manifest.ocdbt")
        self._check_node(FileStorage(manifest, 0, manifest.size))
        ts = import_tensorstore()
        self._base = ts.KvStore.open({"driver": "file", "path": source.url.rstrip("/") + "/"}).result()
        self._dump = ts.ocdbt.dump
        self._values: dict[str, bytes | str] = {}
        self._files: dict[str, Source] = {}
        self._walk()

    def names(self) -> list[str]:
        suffixes = tuple(f"/{document}" for document in DOCUMENTS)
        return [key.rpartition("/")[0] for key in self._values if f"/{key}".endswith(suffixes)]

    def document(self, name: str) -> bytes | None:
        for document in DOCUMENTS:
            data = self.file(_key(name, document))
            if data is not None:
                return data
        return None

    def file(self, name: str) -> bytes | None:
        value = self._values.get(name)
        if value is None or isinstance(value, bytes):
            return value
        storage = self._window(value)
        if storage.nbytes > _MAX_DOCUMENT:
            raise LimitError(f"a zarr document of {storage.nbytes} bytes", path=self.source.path, place=name)
        return storage.source.read(storage.start, storage.nbytes)

    def chunk(self, name: str, key: str) -> Storage | None:
        value = self._values.get(_key(name, key))
        if value is None:
            return None
        return MemoryStorage(value) if isinstance(value, bytes) else self._window(value)

    def _walk(self) -> None:
        """Collect every key of the newest version, with its value or where that lies."""
        versions = self._node(None).get("versions") or [{}]
        root = versions[-1].get("root", {}).get("location")
        if root is None:
            if versions[-1].get("root", {}).get("statistics", {}).get("num_keys") == 0:
                return
            raise UnsupportedError("lists no version of its tree", path=f"{self.source.path}/manifest.ocdbt")
        stack: list[tuple[str, bytes]] = [(root, b"")]
        seen = set()
        while stack:
            location, prefix = stack.pop()
            if location in seen:
                raise DamagedFileError("a node is met twice", path=self.source.path, place=location)
            seen.add(location)
            self._check_node(self._window(location))
            for entry in self._node(location)["entries"]:
                if "location" in entry:
                    stack.append((entry["location"], prefix + entry["subtree_common_prefix"]))
                    continue
                key = (prefix + entry["key"]).decode(errors="surrogateescape")
                reference = entry.get("indirect_value")
                self._values[key] = entry["inline_value"] if reference is None else reference
            if len(self._values) > _MAX_KEYS:
                raise LimitError(f"more than {_MAX_KEYS} keys", path=self.source.path)

    def _check_node(self, node: FileStorage) -> None:
        """Refuse a node that would unpack to more than any writer makes; see `encoded_node` in OCDBT's format."""
        if node.nbytes > _MAX_NODE:
            raise LimitError(f"a node of {node.nbytes} bytes", path=node.source.path)
        data = node.source.read(node.start, node.nbytes)
        frame = data.find(ZSTD_MAGIC, 0, _NODE_HEADER)
        if frame >= 0 and zstd_bound(data[frame:]) > _MAX_NODE:
            raise LimitError(f"a node that unpacks to more than {_MAX_NODE} bytes", path=node.source.path)

    def _node(self, location: str | None) -> Any:
        try:
            return self._dump(self._base, location).result()
        except Exception as error:  # tensorstore raises its own choice of built-in exceptions
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise DamagedFileError(
                f"its OCDBT tree cannot be read ({reason[0][:300]})",
                path=self.source.path,
                place=location or "manifest.ocdbt",
            ) from error

    def _window(self, location: str) -> FileStorage:
        """Return the bytes that a reference names, once they are known to lie within the directory."""
        match = _LOCATION.match(location)
        if match is None:
            raise UnsupportedError(f"a reference of unknown form: {location[:200]!r}", path=self.source.path)
        file = self._files.get(match[1])
        if file is None:
            file = self._files[match[1]] = self._data_file(match[1])
        return FileStorage(file, int(match[2]), int(match[3]))

    def _data_file(self, reference: str) -> Source:
        """Return the file that the middle of a reference names: a directory and a path in it, both quoted."""
        name = urllib.parse.unquote(reference.replace(":", ""), errors="surrogateescape")
        try:
            return self.source.member(name)
        except CheckpointNotFoundError as error:
            raise DamagedFileError("a data file is missing", path=error.path) from None
