"""Weights in several files, with the index that says which one is where (the form of the Hugging Face hub).

    pytorch_model-00001-of-00002.bin
    pytorch_model-00002-of-00002.bin
    pytorch_model.bin.index.json    {"metadata": {...}, "weight_map": {"name": "file", ...}}
    flax_model.msgpack.index.json   the same, of names joined by `/`; the shards are nested

Each shard is opened by whichever backend claims it. The safetensors backend reads its own indexes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from ckpt_core.backend import Stored
from ckpt_core.errors import CheckpointNotFoundError, DamagedFileError, LimitError
from ckpt_core.source import Source
from ckpt_core.tree import KeyPath, children, get

__all__ = ["SUFFIX", "foreign_to", "is_index", "open_shards", "shard_files"]

SUFFIX: Final = ".index.json"
_MAX_INDEX: Final = 100_000_000
_MAX_SHARDS: Final = 10_000


def is_index(source: Source) -> bool:
    """Say whether a file is an index of shards."""
    head = source.head
    return head.lstrip()[:1] == b"{" and source.name.endswith(SUFFIX) and b'"weight_map"' in head


def shard_files(index: Source) -> tuple[str, ...]:
    """Return the names of the files that an index names, in the order of their first weights.

    Raises:
        DamagedFileError: it is no index; says why.
    """
    return tuple(dict.fromkeys(_weight_map(index)[0].values()))


def foreign_to(directory: Source, index: Source) -> tuple[str, ...]:
    """Return the names of the entries of a directory that are neither an index nor a shard that it names."""
    own = {index.name, *shard_files(index)}
    return tuple(name for name in directory.members() if name not in own)


def open_shards(index: Source, directory: Source, open_one: Callable[[Source], Stored]) -> Stored:
    """Return the weights of all shards of an index as one table.

    Arguments:
        index: the index.
        directory: where the shards are.
        open_one: opens one shard.

    Raises:
        DamagedFileError: the index and the shards contradict one another.
    """
    weight_map, metadata = _weight_map(index)
    shards = {file: open_one(_shard(index, directory, file)) for file in shard_files(index)}
    tree: dict[str, Any] = {}
    placed: set[KeyPath] = set()
    for name, file in weight_map.items():
        path = _path_of(name, shards[file].tree)
        if path is None:
            raise DamagedFileError(
                f"the index places it in {file}, where it is not", path=index.path, place=name[:200]
            )
        placed.add(path)
        _put(tree, path, get(shards[file].tree, path))
    notes = [f"{file}: {note}" for file, stored in shards.items() for note in stored.notes]
    above = {path[:depth] for path in placed for depth in range(len(path))}
    unlisted = [found for stored in shards.values() for found in _unlisted(stored.tree, placed, above)]
    for path, value in unlisted:
        _put(tree, path, value)
    if unlisted:
        example = "/".join(map(str, unlisted[0][0]))
        notes.append(f"{len(unlisted)} entries are in the shards and not in the index, such as {example}")
    attributes = {file: dict(stored.attributes) for file, stored in shards.items() if stored.attributes}
    return Stored(tree, {**metadata, **attributes}, tuple(notes))


def _path_of(name: str, table: Any) -> KeyPath | None:
    """Where a weight of the index stands in its shard: under its name, or, as Flax has it, nested by its parts."""
    for path in ((name,), tuple(name.split("/"))):
        node = table
        for key in path:
            node = node.get(key) if isinstance(node, Mapping) else None
        if node is not None:
            return path
    return None


def _put(tree: dict[str, Any], path: KeyPath, value: Any) -> None:
    node = tree
    for depth, key in enumerate(path[:-1]):
        node = node.setdefault(key, {})
        if type(node) is not dict:
            raise DamagedFileError(
                "is a weight in one shard, and holds others in another",
                place="/".join(map(str, path[:depth])),
            )
    node[path[-1]] = value


def _unlisted(
    table: Any, placed: Collection[KeyPath], above: Collection[KeyPath]
) -> list[tuple[KeyPath, Any]]:
    """The highest entries of a shard of which nothing is in the index; `above` are the paths that lead to its names."""
    found: list[tuple[KeyPath, Any]] = []
    stack: list[tuple[KeyPath, Any]] = [((), table)]
    while stack:
        path, node = stack.pop()
        if path in above:
            stack += [((*path, key), child) for key, child in reversed(children(node) or [])]
        elif path not in placed:
            found.append((path, node))
    return found


def _shard(index: Source, directory: Source, file: str) -> Source:
    try:
        shard = directory.member(file)
    except CheckpointNotFoundError:
        raise DamagedFileError(
            f"names the shard {file}, which is not there",
            path=index.path,
            place="weight_map",
            remedy="Fetch the missing shard.",
        ) from None
    if shard.is_directory:
        raise DamagedFileError(f"names the shard {file}, which is a directory", path=index.path)
    return shard


def _weight_map(index: Source) -> tuple[dict[str, str], dict[str, Any]]:
    if index.size > _MAX_INDEX:
        raise LimitError(
            f"an index of {index.size} bytes is beyond the {_MAX_INDEX} allowed", path=index.path
        )
    try:
        content = json.loads(index.read(0, index.size))
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"is no JSON: {error}", path=index.path) from error
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    metadata = content.get("metadata") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise DamagedFileError("has no object of file names", path=index.path, place="weight_map")
    if len(set(weight_map.values())) > _MAX_SHARDS:
        raise LimitError(f"an index of more than {_MAX_SHARDS} shards", path=index.path)
    return weight_map, metadata if isinstance(metadata, dict) else {}
