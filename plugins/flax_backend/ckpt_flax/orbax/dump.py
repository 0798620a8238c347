"""Nodes of an OCDBT database, unpacked by tensorstore, where there is no `zstandard` to unpack them with.

tensorstore's dump reads the same bytes as `btree.py`, needs a KiB of memory per key, and does not give it back.
"""

from __future__ import annotations

import re
import urllib.parse
from typing import Any, Final

from ckpt_core.errors import DamagedFileError, LimitError, UnsupportedError
from ckpt_core.source import Source
from ckpt_flax.orbax.bombs import ZSTD_MAGIC, zstd_bound
from ckpt_flax.orbax.btree import MAX_NODE, Node, Reference
from ckpt_flax.orbax.codec import import_tensorstore

__all__ = ["Dump"]

_HEADER: Final = 32
"""Bytes in which the compressed part of a node begins: magic number, length, version and compression."""

_LOCATION: Final = re.compile(r"(?:btreenode|value):([^:]*):([^:]*):(\d{1,20}):(\d{1,20})\Z")


class Dump:
    """Reads the manifest and the nodes of one database.

    Arguments:
        source: the directory that holds `manifest.ocdbt`.

    Raises:
        MissingDependencyError: tensorstore is not installed.
    """

    def __init__(self, source: Source) -> None:
        ts = import_tensorstore()
        self._base = ts.KvStore.open({"driver": "file", "path": source.url.rstrip("/") + "/"}).result()
        self._dump = ts.ocdbt.dump
        self._locations: dict[Reference, str] = {}

    def manifest(self, data: bytes) -> tuple[int, Reference] | None:
        """Do what `btree.read_manifest` does."""
        _check(data)
        versions = self._read(None).get("versions") or [{}]
        root = versions[-1].get("root", {})
        if "location" in root:
            return versions[-1].get("root_height", 0), self._reference(root["location"])
        if root.get("statistics", {}).get("num_keys") == 0:
            return None
        raise UnsupportedError("lists no version of its tree")

    def node(self, data: bytes, place: Reference) -> Node:
        """Do what `btree.read_node` does, for the node at a place that `manifest` or `node` returned."""
        _check(data)
        node = self._read(self._locations.pop(place))
        entries: list[tuple[bytes, bytes | Reference]] = []
        children: list[tuple[bytes, Reference]] = []
        for entry in node["entries"]:
            if "location" in entry:
                children.append((entry["subtree_common_prefix"], self._reference(entry["location"])))
            elif "indirect_value" in entry:
                entries.append((entry["key"], _parsed(entry["indirect_value"])))
            else:
                entries.append((entry["key"], entry["inline_value"]))
        return Node(node["height"], iter(entries), children)

    def _reference(self, location: str) -> Reference:
        reference = _parsed(location)
        self._locations[reference] = location
        return reference

    def _read(self, location: str | None) -> Any:
        try:
            return self._dump(self._base, location).result()
        except Exception as error:  # tensorstore raises its own choice of built-in exceptions
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise DamagedFileError(f"cannot be read ({reason[0][:300]})") from error


def _check(data: bytes) -> None:
    """Refuse a node that would unpack to more than any writer makes."""
    frame = data.find(ZSTD_MAGIC, 0, _HEADER)
    if frame >= 0 and zstd_bound(data[frame:]) > MAX_NODE:
        raise LimitError(f"unpacks to more than {MAX_NODE} bytes")


def _parsed(location: str) -> Reference:
    match = _LOCATION.match(location)
    if match is None:
        raise UnsupportedError(f"a reference of unknown form: {location[:200]!r}")
    base, rest = (urllib.parse.unquote_to_bytes(part) for part in match.group(1, 2))
    return Reference(base + rest, base, int(match[3]), int(match[4]))
