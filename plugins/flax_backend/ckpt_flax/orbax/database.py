"""The keys of an OCDBT database, each with its value or the place of it.

Every byte is read through Source, so that names which lead out of the directory are refused; what a node refers
to is checked before it is followed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Final

from ckpt_core.errors import CheckpointError, CheckpointNotFoundError, DamagedFileError, LimitError
from ckpt_core.source import Source
from ckpt_core.storage import FileStorage
from ckpt_flax.orbax.btree import MAX_NODE, Node, Reference, read_manifest, read_node
from ckpt_flax.orbax.dump import Dump
from ckpt_flax.orbax.zstd import has_zstandard

__all__ = ["Database"]

MAX_KEYS: Final = 20_000_000

FREE_KEYS: Final = 1 << 28
MAX_KEYS_RATIO: Final = 64
"""All keys may have FREE_KEYS bytes, and MAX_KEYS_RATIO times the bytes of the nodes in which they are shortened."""


_LONG_KEYS: Final = "keys that are far longer than the nodes that hold them"
_DOCUMENTS: Final = (b"/.zarray", b"/zarr.json")


class Database:
    """The newest version of a database (tensorstore's `ocdbt` driver), its whole tree walked once.

    Arguments:
        source: the directory that holds `manifest.ocdbt`.

    Raises:
        DamagedFileError: a node is damaged, or refers to bytes that are not there.
        UnsafePathError: it refers to a file outside of the directory.
        MissingDependencyError: there is neither zstandard nor tensorstore to unpack a node with.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.values: dict[str, bytes | Reference] = {}
        """Small values as they are, others by their place; arrays of one shape share their description."""
        self._files: dict[bytes, Source] = {}
        self._shared: dict[bytes, bytes] = {}
        self._room = FREE_KEYS
        self._walk(_Parser() if has_zstandard() else Dump(source))
        self._shared.clear()

    def read(self, place: Reference) -> bytes:
        """Read the bytes at a place."""
        window = self.window(place)
        return window.source.read(window.start, window.nbytes)

    def window(self, place: Reference) -> FileStorage:
        """Return the bytes at a place, once they are known to lie within the directory."""
        return FileStorage(self._file(place.file), place.offset, place.length)

    def _file(self, name: bytes) -> Source:
        file = self._files.get(name)
        if file is None:
            try:
                file = self._files[name] = self.source.member(name.decode(errors="surrogateescape"))
            except CheckpointNotFoundError as error:
                raise DamagedFileError("a data file is missing", path=error.path) from None
        return file

    def _walk(self, nodes: _Parser | Dump) -> None:
        manifest = self.source.member("manifest.ocdbt")
        with _naming(manifest.path, None):
            root = nodes.manifest(self._node(Reference(b"manifest.ocdbt", b"", 0, manifest.size)))
        stack: list[tuple[int, Reference, bytes]] = [] if root is None else [(*root, b"")]
        seen: set[Reference] = set()
        while stack:
            height, place, prefix = stack.pop()
            with _naming(self._file(place.file).path, f"the node at byte {place.offset}"):
                if place in seen:
                    raise DamagedFileError("a node is met twice")
                seen.add(place)
                node = nodes.node(self._node(place), place)
                if node.height != height:
                    raise DamagedFileError(f"has height {node.height} where {height} is expected")
                self._room += MAX_KEYS_RATIO * place.length
                self._add(prefix, node.entries)
                for start, child in node.children:
                    self._charge(len(prefix) + len(start))
                    stack.append((height - 1, child, prefix + start))

    def _node(self, place: Reference) -> bytes:
        if place.length > MAX_NODE:
            raise LimitError(f"has {place.length} bytes")
        return self.read(place)

    def _add(self, prefix: bytes, entries: Iterable[tuple[bytes, bytes | Reference]]) -> None:
        values, share, room = self.values, self._shared.setdefault, self._room
        for rest, stored in entries:
            key = prefix + rest
            room -= len(key)
            if room < 0:
                raise LimitError(_LONG_KEYS)
            if len(values) >= MAX_KEYS:
                raise LimitError(f"more than {MAX_KEYS} keys")
            shared = share(stored, stored) if type(stored) is bytes and key.endswith(_DOCUMENTS) else stored
            values[key.decode("utf-8", "surrogateescape")] = shared
        self._room = room

    def _charge(self, nbytes: int) -> None:
        self._room -= nbytes
        if self._room < 0:
            raise LimitError(_LONG_KEYS)


class _Parser:
    """Reads nodes with `btree.py`."""

    def manifest(self, data: bytes) -> tuple[int, Reference] | None:
        return read_manifest(data)

    def node(self, data: bytes, place: Reference) -> Node:
        return read_node(data, place.base)


@contextlib.contextmanager
def _naming(path: str, place: str | None) -> Iterator[None]:
    """Say where a node that cannot be read is."""
    try:
        yield
    except CheckpointError as error:
        raise error.located(path, place) from error.__cause__
