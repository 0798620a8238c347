"""Write an Orbax checkpoint that Orbax's own loaders restore, without Orbax.

The usual form is one directory per array, `NAME/.zarray` with one uncompressed chunk (zarr 2), whose bytes
the kernel can copy. Many small arrays, and names that are unsafe as file names, go into an OCDBT database instead
(`ocdbt.py`). Around them stand `_METADATA` (the tree), `_CHECKPOINT_METADATA` (the commit), `_strings.json`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.errors import UnsupportedError
from ckpt_core.sink import Sink
from ckpt_core.storage import BLOCK
from ckpt_core.tree import Index, KeyPath, flatten, render_path
from ckpt_flax.orbax.codec import has_tensorstore
from ckpt_flax.orbax.metadata import DICT_KEY, SEQUENCE_KEY
from ckpt_flax.orbax.strings import nested

__all__ = ["DTYPES", "Entry", "array_document", "write_checkpoint"]

MAX_FILES: Final = 20_000
"""Arrays beyond which a database is written instead of files."""

FEW_FILES: Final = 32
WORTH_A_FILE: Final = 1 << 20
"""More than FEW_FILES arrays are written as files when they have this many bytes on average: each file costs a
few milliseconds until it is safe on disk, and a database costs more per byte."""

_MAX_NAME: Final = 255
_SYMBOLIC: Final = frozenset(
    {
        "bfloat16",
        "float8_e3m4",
        "float8_e4m3b11fnuz",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e5m2",
        "float8_e5m2fnuz",
        "int4",
    }
)
"""Dtypes that stand under their own names in a `.zarray`, as tensorstore reads them."""

DTYPES: Final = _SYMBOLIC | {
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
}
"""What Orbax's three loaders restore from a zarr 2 directory."""

_RESERVED: Final = frozenset(
    {
        "_checkpoint_metadata",
        "_metadata",
        "_sharding",
        "_strings.json",
        "array_metadatas",
        "checkpoint",
        "commit_success.txt",
        "d",
        "descriptor",
        "jax_random_key_metadata",
        "manifest.ocdbt",
        "metadata",
        "metrics",
        "np_random_key_metadata",
        "orbax.checkpoint",
    }
)


class Entry(NamedTuple):
    """An array under its stored name; Python's numbers are 0-d arrays."""

    name: str
    leaf: LazyArray | bool | int | float

    @property
    def array(self) -> LazyArray:
        """The array to write."""
        return self.leaf if isinstance(self.leaf, LazyArray) else _scalar_array(self.leaf)


def write_checkpoint(stored: Stored, sink: Sink) -> None:
    """Write a tree of dicts and lists with text keys.

    Arguments:
        stored: the tree, and attributes that become `custom_metadata`.
        sink: where to; the target becomes a directory.

    Raises:
        UnsupportedError: a leaf or a name is none that Orbax can hold.
    """
    started = time.time_ns()
    entries: list[Entry] = []
    strings: dict[str, str] = {}
    for path, leaf in flatten(stored.tree):
        if isinstance(leaf, str):
            strings[_name(path)] = leaf
        elif isinstance(leaf, (LazyArray, bool, int, float)):
            entries.append(Entry(_name(path), leaf))
    in_database = not _fit_files([name for name, _ in entries]) or (
        _prefer_database(entries) and has_tensorstore()
    )
    if in_database:
        from ckpt_flax.orbax.ocdbt import write_database

        write_database(entries, sink)
    else:
        _write_files(entries, sink)
    _write_tree(stored, in_database, sink)
    if strings:
        _write_json(sink, "_strings.json", nested(strings))
    _write_json(sink, "_CHECKPOINT_METADATA", _root_document(started))


_SKIPPED: Final = frozenset({"None", "Dict", "List"})


def _name(path: KeyPath) -> str:
    """Return the name under which Orbax stores the leaf at a path."""
    keys = [key if type(key) is str else _text(path, key) for key in path]
    name = ".".join(keys)
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UnsupportedError("a key that is no valid Unicode text", place=render_path(path)) from None
    return name


def _text(path: KeyPath, key: Any) -> str:
    if type(key) is str:
        return key
    if isinstance(key, Index):
        return str(int(key))
    raise UnsupportedError(f"a key of type {type(key).__name__}", place=render_path(path))


def _value_type(path: KeyPath, leaf: Any) -> str:
    if isinstance(leaf, LazyArray):
        return "np.ndarray"
    if isinstance(leaf, (bool, int, float)):
        return "scalar"
    if isinstance(leaf, str):
        return "string"
    for kind, name in ((type(None), "None"), (dict, "Dict"), (list, "List")):
        if type(leaf) is kind:
            return name
    raise UnsupportedError(f"a value of type {type(leaf).__name__}", place=render_path(path))


def _scalar_array(value: float) -> LazyArray:
    dtype = np.bool_ if isinstance(value, bool) else np.int64 if isinstance(value, int) else np.float64
    return LazyArray.from_numpy(np.asarray(value, dtype))


def _write_tree(stored: Stored, in_database: bool, sink: Sink) -> None:
    """Write `_METADATA`, entry by entry: for many leaves the document is large."""
    with sink.file("_METADATA") as file:
        block = bytearray(b'{"tree_metadata": {')
        separator = ""
        for path, leaf in flatten(stored.tree):
            block += f"{separator}{_tree_entry(path, leaf)}".encode()
            separator = ", "
            if len(block) > BLOCK:
                file.write(block)
                block.clear()
        rest = {
            "use_ocdbt": in_database,
            "use_zarr3": False,
            "store_array_data_equal_to_fill_value": True,
            "custom_metadata": dict(stored.attributes) or None,
        }
        file.write(block + b"}, " + json.dumps(rest).encode()[1:])


def _tree_entry(path: KeyPath, leaf: Any) -> str:
    texts = tuple([_text(path, key) for key in path])
    keys = [
        {"key": text, "key_type": DICT_KEY if type(key) is str else SEQUENCE_KEY}
        for text, key in zip(texts, path, strict=True)
    ]
    value_type = _value_type(path, leaf)
    value = {"value_type": value_type, "skip_deserialize": value_type in _SKIPPED}
    return f"{json.dumps(str(texts))}: {json.dumps({'key_metadata': keys, 'value_metadata': value})}"


def _root_document(started: int) -> dict[str, Any]:
    return {
        "item_handlers": "orbax.checkpoint._src.handlers.pytree_checkpoint_handler.PyTreeCheckpointHandler",
        "metrics": {},
        "performance_metrics": {},
        "init_timestamp_nsecs": started,
        "commit_timestamp_nsecs": time.time_ns(),
        "custom_metadata": {},
    }


def _write_json(sink: Sink, name: str, value: Any) -> None:
    with sink.file(name) as file:
        file.write(json.dumps(value).encode())


# Files.


def _prefer_database(entries: list[Entry]) -> bool:
    """Say whether a database is written faster than files."""
    count = len(entries)
    nbytes = sum(entry.leaf.nbytes if isinstance(entry.leaf, LazyArray) else 8 for entry in entries)
    return count > MAX_FILES or (count > FEW_FILES and nbytes < count * WORTH_A_FILE)


def _fit_files(names: Iterable[str]) -> bool:
    """Say whether all names are safe as names of directories on any file system, and apart there."""
    seen: set[str] = set()
    for name in names:
        folded = name.casefold()
        if folded in seen or not _is_safe(name) or folded in _RESERVED or folded.startswith("ocdbt."):
            return False
        seen.add(folded)
    return True


def _is_safe(name: str) -> bool:
    if not name or name[0] in ". " or name[-1] in ". " or not name.isprintable():
        return False
    if any(sign in '/\\:*?"<>|' for sign in name):
        return False
    return len(name.encode()) <= _MAX_NAME


def _write_files(entries: Iterable[Entry], sink: Sink) -> None:
    for entry in entries:
        name, array = entry.name, entry.array
        with sink.file(f"{name}/.zarray") as file:
            file.write(array_document(array.shape, array.dtype))
        if array.size:
            with sink.file(f"{name}/{'.'.join('0' * array.ndim) or '0'}") as file:
                file.write_array(array)


def array_document(shape: tuple[int, ...], dtype: str, chunks: tuple[int, ...] | None = None) -> bytes:
    """Return the `.zarray` document (zarr 2) of an uncompressed array; one chunk unless `chunks` says more."""
    return json.dumps(
        {
            "chunks": [max(size, 1) for size in chunks or shape],
            "compressor": None,
            "dimension_separator": ".",
            "dtype": dtype if dtype in _SYMBOLIC else np.dtype(dtype).newbyteorder("<").str,
            "fill_value": None,
            "filters": None,
            "order": "C",
            "shape": list(shape),
            "zarr_format": 2,
        }
    ).encode()
