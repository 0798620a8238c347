"""Open one item of an Orbax checkpoint: a tree of arrays, a JSON value or a random key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.errors import DamagedFileError, UnsupportedError
from ckpt_core.source import Source
from ckpt_core.tree import Index, Record, flatten, map_with_path
from ckpt_flax.msgpack import read_msgpack
from ckpt_flax.orbax.arrays import ArrayReader
from ckpt_flax.orbax.jsontext import parse_object, read_json, read_object
from ckpt_flax.orbax.layout import has_aggregate, is_array_directory, is_json_item
from ckpt_flax.orbax.metadata import EMPTY, ItemMetadata, Keys, Kind, build_tree, read_metadata
from ckpt_flax.orbax.store import OcdbtStore, PlainStore, Store
from ckpt_flax.orbax.strings import text_at

__all__ = ["RANDOM_KEY", "STRINGS", "open_item"]

RANDOM_KEY: Final = "jax.random.key"
"""The type of the Record that stands for a typed random key, with fields `impl` and `data`."""

STRINGS: Final = "_strings.json"
_PLACEHOLDER: Final = "PLACEHOLDER://"
_PYTHON_TYPES: Final = frozenset({"bool", "int64", "float64"})


def open_item(source: Source) -> Stored:
    """Open an item directory.

    Raises:
        DamagedFileError: its files contradict each other.
        UnsupportedError: it is of a kind that is not known here.
    """
    if source.has("_METADATA"):
        return _open_tree(source)
    if has_aggregate(source):
        return _open_aggregate(source)
    if source.has("jax_random_key_metadata"):
        return _open_jax_key(source)
    if source.has("np_random_key_metadata"):
        return _open_numpy_key(source)
    if is_json_item(source):
        return Stored(read_json(source.member("metadata" if source.has("metadata") else "metrics")))
    if source.has("manifest.ocdbt") or is_array_directory(source):
        return _open_nameless(source)
    raise UnsupportedError("is an Orbax item of a kind that is not known here", path=source.path)


def _store(source: Source) -> Store:
    return OcdbtStore(source) if source.has("manifest.ocdbt") else PlainStore(source)


# Trees.


def _open_tree(source: Source) -> Stored:
    store = _store(source)
    metadata = read_metadata(source.member("_METADATA"))
    values = _Values(source, store, metadata)
    entries = ((keys, kind.positions, values.read(keys, kind)) for keys, kind in metadata.leaves)
    tree = build_tree(entries, source.path)
    return Stored(tree, metadata.custom, tuple(values.notes()))


class _Values:
    """The values of the leaves of one item."""

    def __init__(self, source: Source, store: Store, metadata: ItemMetadata) -> None:
        self.source = source
        self.reader = ArrayReader(store, metadata.omits_fill, source.path)
        self.strings = read_object(source.member(STRINGS)) if source.has(STRINGS) else {}
        self.implementations = _key_implementations(source)
        self.aggregate = _aggregate_leaves(source) if has_aggregate(source) else {}
        self.dotted = metadata.dotted
        self.arrays: dict[str, LazyArray] = {}
        """Those whose name another leaf may have."""
        self.shared: list[str] = []

    def read(self, keys: Keys, kind: Kind) -> Any:
        """Return the value of one leaf."""
        _, value_type, skip = kind
        empty = EMPTY.get(value_type)
        if empty is not None:
            return empty()
        name = ".".join(keys)
        if value_type == "string":
            text = text_at(self.strings, name)
            if text is None:
                raise DamagedFileError(
                    f"a text is missing in {STRINGS}", path=self.source.path, place=name[:200]
                )
            return text
        array = self.arrays.get(name)
        if array is not None:
            self.shared.append(name)
        elif self.aggregate and self._is_aggregated(keys, name, skip):
            return self.aggregate[keys]
        else:
            array = self.reader.read(name)
            if self.dotted:
                self.arrays[name] = array
        if value_type == "scalar" and not array.shape:
            return _scalar(array)
        if name in self.implementations:
            return Record(RANDOM_KEY, {"impl": self.implementations[name], "data": array})
        return array

    def _is_aggregated(self, keys: Keys, name: str, skip: bool) -> bool:
        return keys in self.aggregate and (skip or self.reader.store.find(name) is None)

    def notes(self) -> Iterator[str]:
        """Yield what a reader should be told."""
        for name in self.shared[:20]:
            yield f"two leaves are named {name!r}, of which Orbax stored one"


def _scalar(array: LazyArray) -> Any:
    """Return a number: Python's where it may have been one, numpy's where the dtype says that it was not."""
    value = array.read()[()]
    return value.item() if array.dtype in _PYTHON_TYPES else value


def _key_implementations(source: Source) -> dict[str, str]:
    """Return the implementation of each array that is a typed random key."""
    found: dict[str, str] = {}
    if not source.has("array_metadatas"):
        return found
    folder = source.member("array_metadatas")
    for name in folder.members():
        member = folder.member(name)
        if member.is_directory or not name.startswith("process_"):
            continue
        data = member.read(0, member.size)
        is_whole = data.count(b"{") == data.count(b"}") > 0
        # of very many arrays it is long, and says nothing needed
        if is_whole and b"random_key_impl" not in data:
            continue
        try:
            for entry in parse_object(data)["array_metadatas"]:
                array = entry["array_metadata"]
                extra = array.get("ext_metadata") or {}
                if type(extra.get("random_key_impl")) is str:
                    found[str(array["param_name"])] = extra["random_key_impl"]
        except (KeyError, TypeError, AttributeError, DamagedFileError) as error:
            raise DamagedFileError("is no list of array metadata", path=member.path) from error
    return found


def _open_nameless(source: Source) -> Stored:
    """Open arrays with no word about a tree, under their own names."""
    reader = ArrayReader(_store(source), False, source.path)
    tree = {name: reader.read(name) for name in reader.store.names()}
    return Stored(tree, {}, ("there is no _METADATA: the arrays stand under their stored names",))


# The aggregate file of Orbax before 0.4.


def _open_aggregate(source: Source) -> Stored:
    reader = ArrayReader(_store(source), False, source.path)

    def value(_: Any, leaf: Any) -> Any:
        if type(leaf) is str and leaf.startswith(_PLACEHOLDER):
            return reader.read(leaf[len(_PLACEHOLDER) :])
        return leaf

    return Stored(map_with_path(value, read_msgpack(source.member("checkpoint"))))


def _aggregate_leaves(source: Source) -> dict[tuple[str, ...], Any]:
    """Return the values that were put into the aggregate file itself, by their keys as texts."""
    leaves = flatten(read_msgpack(source.member("checkpoint")))
    return {
        tuple(str(int(key)) if isinstance(key, Index) else str(key) for key in path): leaf
        for path, leaf in leaves
        if not (type(leaf) is str and leaf.startswith(_PLACEHOLDER))
    }


# Random keys.


def _open_jax_key(source: Source) -> Stored:
    stored = open_item(source.member("jax_random_key"))
    data = stored.tree.get("checkpoint") if isinstance(stored.tree, dict) else None
    if not isinstance(data, (LazyArray, Record)):
        raise DamagedFileError("holds no key data", path=source.path)
    about = _about_key(source, "jax_random_key_metadata")
    if isinstance(data, LazyArray) and about.get("typed") is True:
        return Stored(Record(RANDOM_KEY, {"impl": about.get("impl"), "data": data}))
    return Stored(data)


def _open_numpy_key(source: Source) -> Stored:
    state = open_item(source.member("np_random_key")).tree
    if isinstance(state, list) and _about_key(source, "np_random_key_metadata").get("legacy") is True:
        return Stored(tuple(state))
    return Stored(state)


def _about_key(source: Source, name: str) -> dict[str, Any]:
    return read_object(source.member(f"{name}/metadata")) if source.has(f"{name}/metadata") else {}
