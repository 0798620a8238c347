"""A checkpoint in several safetensors files, with the index that says which tensor is where.

    model-00001-of-00002.safetensors
    model-00002-of-00002.safetensors
    model.safetensors.index.json    {"metadata": {"total_size": 123, ...}, "weight_map": {"name": "file", ...}}

This is the form of the Hugging Face hub. The attributes are the index's `metadata` and what `__metadata__` of the
shards adds; where shards differ in a text, each one stands under `file/key`. `total_size` is a fact of the index, made
anew when one is written, and no attribute unless it contradicts the shards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    DamagedFileError,
    LimitError,
    UsageError,
)
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_core.tree import Record
from ckpt_core.writer import FileWriter
from ckpt_safetensors import header

__all__ = ["indexes", "is_alone", "is_index", "only_index", "read", "write"]

_SUFFIX: Final = ".safetensors.index.json"
_USUAL: Final = "model" + _SUFFIX
_SHORT: Final = 1024
"""Texts up to this length are repeated in every shard, where loaders look for `format`."""

WriteFile = Callable[[FileWriter, Mapping[str, LazyArray], Mapping[str, str]], None]


# Finding the index.


def indexes(source: Source) -> list[str]:
    """Return the names of the indexes in a directory."""
    return [name for name in source.members() if name.endswith(_SUFFIX)]


def is_alone(source: Source) -> bool:
    """Say whether a directory holds safetensors files with their index, and nothing else."""
    names = [name for name in source.members() if not name.startswith(".")]
    return bool(indexes(source)) and all(name.endswith((_SUFFIX, ".safetensors")) for name in names)


def only_index(source: Source) -> Source:
    """Return the index of a directory.

    Raises:
        DamagedFileError: there is none.
        UsageError: there are several, and none has the usual name.
    """
    names = indexes(source)
    if _USUAL in names:
        names = [_USUAL]
    if not names:
        raise DamagedFileError(f"has no *{_SUFFIX}", path=source.path)
    if len(names) > 1:
        raise UsageError(
            f"has several indexes: {', '.join(names[:5])}",
            path=source.path,
            remedy="Open one of these files.",
        )
    return source.member(names[0])


def is_index(source: Source) -> bool:
    """Say whether a file is an index of safetensors files."""
    head = source.head
    return head.lstrip()[:1] == b"{" and b'"weight_map"' in head and b'.safetensors"' in head


# Reading.


def read(directory: Source, index: Source) -> Stored:
    """Read an index and the headers of its shards.

    Raises:
        DamagedFileError: the index and the shards contradict one another.
        UnsafePathError: a shard's name leads out of the directory.
    """
    weight_map, metadata = _read_index(index)
    shards: dict[str, header.Content] = {}
    for file in weight_map.values():
        if file not in shards:
            shards[file] = _read_shard(directory, index, file)
    owner = _owners(shards, index)
    tree: dict[str, Any] = {}
    for name, file in weight_map.items():
        if owner.get(name) != file:
            raise DamagedFileError(
                f"the index places it in {file}, where it is not", path=index.path, place=name[:200]
            )
        tree[name] = shards[file].tensors[name]
    notes = [f"{file}: {note}" for file, content in shards.items() for note in content.notes]
    unlisted = [name for name in owner if name not in tree]
    if unlisted:
        tree.update({name: shards[owner[name]].tensors[name] for name in unlisted})
        notes.append(f"{len(unlisted)} tensors are in the shards and not in the index, such as {unlisted[0]}")
    if metadata.get("total_size") == sum(_nbytes(content) for content in shards.values()):
        del metadata["total_size"]
    notes += _others(directory, index, shards)
    return Stored(tree, _attributes(shards, metadata), tuple(notes))


def _read_index(index: Source) -> tuple[dict[str, str], dict[str, Any]]:
    try:
        if index.size > header.MAX_HEADER:
            raise LimitError(f"an index of {index.size} bytes is beyond the {header.MAX_HEADER} allowed")
        content = header.parse_json(index.read(0, index.size).strip(), "index")
    except CheckpointError as error:
        raise error.located(index.path) from error.__cause__
    weight_map, metadata = content.get("weight_map"), content.get("metadata")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise DamagedFileError("has no object of file names", path=index.path, place="weight_map")
    if metadata is not None and not isinstance(metadata, dict):
        raise DamagedFileError("is no object", path=index.path, place="metadata")
    return weight_map, metadata or {}


def _read_shard(directory: Source, index: Source, file: str) -> header.Content:
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
        raise DamagedFileError(
            f"names the shard {file}, which is a directory", path=index.path, place="weight_map"
        )
    try:
        return header.read(shard)
    except CheckpointError as error:
        raise error.located(shard.path) from error.__cause__


def _owners(shards: Mapping[str, header.Content], index: Source) -> dict[str, str]:
    """Return the shard of each tensor; raises DamagedFileError where two have the same name."""
    owner: dict[str, str] = {}
    for file, content in shards.items():
        for name in content.tensors:
            if name in owner:
                raise DamagedFileError(
                    f"is both in {owner[name]} and in {file}", path=index.path, place=name[:200]
                )
            owner[name] = file
    return owner


def _nbytes(content: header.Content) -> int:
    arrays = [item["data"] if isinstance(item, Record) else item for item in content.tensors.values()]
    return sum(array.nbytes for array in arrays)


def _others(directory: Source, index: Source, shards: Mapping[str, header.Content]) -> list[str]:
    """Name what else lies in the directory and looks like a checkpoint, since it is not part of the tree."""
    endings = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pkl", ".msgpack")
    tops = {file.split("/")[0] for file in shards}
    others = [name for name in directory.members() if name.endswith(endings) and name not in tops]
    if not others:
        return []
    return [
        f"read from {index.name} alone; beside it lie {', '.join(others[:5])}"
        + (", ..." if others[5:] else "")
    ]


def _attributes(shards: Mapping[str, header.Content], metadata: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, set[str]] = {}
    for content in shards.values():
        for key, text in content.metadata.items():
            values.setdefault(key, set()).add(text)
    attributes: dict[str, Any] = {}
    for file, content in shards.items():
        for key, text in content.metadata.items():
            attributes[key if len(values[key]) == 1 else f"{file}/{key}"] = text
    attributes.update(metadata)
    return attributes


# Writing.


def write(
    tensors: Mapping[str, LazyArray],
    metadata: Mapping[str, str],
    sink: Sink,
    limit: int,
    write_file: WriteFile,
) -> None:
    """Write shards of at most `limit` bytes of tensors (a larger tensor has one of its own), and their index."""
    groups = _split(tensors, limit)
    common = {key: text for key, text in metadata.items() if len(text) <= _SHORT}
    weight_map: dict[str, str] = {}
    for number, names in enumerate(groups, 1):
        file_name = f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        weight_map.update(dict.fromkeys(names, file_name))
        with sink.file(file_name) as file:
            write_file(file, {name: tensors[name] for name in names}, common)
    index = {
        "metadata": {"total_size": sum(array.nbytes for array in tensors.values()), **metadata},
        "weight_map": {name: weight_map[name] for name in tensors},
    }
    with sink.file(_USUAL) as file:
        file.write(json.dumps(index, indent=2, ensure_ascii=False).encode() + b"\n")


def _split(tensors: Mapping[str, LazyArray], limit: int) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    filled = 0
    for name, array in tensors.items():
        if groups[-1] and filled + array.nbytes > limit:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += array.nbytes
    return groups
