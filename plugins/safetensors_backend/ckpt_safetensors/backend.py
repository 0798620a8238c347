"""SafetensorsBackend: reading and writing single files; `sharded` has the directories."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Backend, Holds, Stored
from ckpt_core.errors import UnsupportedError, UsageError
from ckpt_core.shards import foreign_to
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_core.writer import FileWriter
from ckpt_safetensors import header, sharded

__all__ = ["SafetensorsBackend", "write_file"]

_UNITS: Final = {"": 1, "B": 1} | {
    f"{letter}{kind}": base**power
    for power, letter in enumerate("KMGT", 1)
    for kind, base in (("B", 1000), ("IB", 1024))
}


class SafetensorsBackend(Backend):
    """safetensors: a `.safetensors` file, or a directory of them with a `*.safetensors.index.json`.

    Option of `save`: `max_shard_size`, a number of bytes or a text such as "5GB" or "500MiB"; the target is then
    a directory of shards with their index.
    """

    name = "safetensors"
    suffixes = (".safetensors",)
    looks_for = "a length and a JSON header at the start, or an index of shards (*.safetensors.index.json)"
    options = ("max_shard_size",)
    framework_key = "format"
    holds = Holds(
        dtypes=frozenset(header.CODES),
        attributes="text",
        reserved=frozenset({header.METADATA}),
        loader_gaps={
            **dict.fromkeys(
                [name for name in header.CODES if name.startswith("float8")],
                "is not read by safetensors.numpy and safetensors.flax",
            ),
            **dict.fromkeys(
                ("int64", "uint64", "float64"), "is narrowed to 32 bits by safetensors.flax by default"
            ),
        },
    )

    def sniff(self, source: Source) -> bool:
        if source.is_directory:
            return sharded.is_alone(source)
        return header.begins_like_one(source) or sharded.is_index(source)

    def open(self, source: Source) -> Stored:
        if source.is_directory:
            return sharded.read(source, sharded.only_index(source))
        if source.head.lstrip()[:1] == b"{" and not header.begins_like_one(source):
            return sharded.read(source.parent(), source)
        content = header.read(source)
        return Stored(content.tensors, content.metadata, content.notes)

    def foreign(self, source: Source) -> tuple[str, ...]:
        return foreign_to(source, sharded.only_index(source)) if source.is_directory else ()

    def save(self, stored: Stored, sink: Sink, options: Mapping[str, object]) -> None:
        tensors = _checked(stored)
        limit = options.get("max_shard_size")
        if limit is not None:
            sharded.write(tensors, stored.attributes, sink, _parse_size(limit), write_file)
            return
        with sink.file() as file:
            write_file(file, tensors, stored.attributes)


def write_file(file: FileWriter, tensors: Mapping[str, LazyArray], metadata: Mapping[str, str]) -> None:
    """Write one whole file, tensor by tensor."""
    start, order = header.build({name: array.spec for name, array in tensors.items()}, metadata)
    file.write(start)
    for name in order:
        file.write_array(tensors[name])


def _checked(stored: Stored) -> Mapping[str, LazyArray]:
    """Check that core fitted the tree to what this format holds."""
    for name, array in stored.tree.items():
        if type(name) is not str or name == header.METADATA or not isinstance(array, LazyArray):
            raise UnsupportedError(
                "only arrays under names of their own can be written", place=str(name)[:200]
            )
        if array.dtype not in header.CODES:
            raise UnsupportedError(f"dtype {array.dtype} has no code in this format", place=name[:200])
    for key, text in stored.attributes.items():
        if not isinstance(text, str):
            raise UnsupportedError("only texts can be written as metadata", place=str(key)[:200])
    tensors: Mapping[str, LazyArray] = stored.tree
    return tensors


def _parse_size(value: object) -> int:
    """Return the bytes that an integer or a text such as "5GB" means."""
    match = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*([A-Za-z]*)\s*", str(value), re.ASCII)
    unit = _UNITS.get(match[2].upper()) if match else None
    nbytes = int(float(match[1]) * unit) if match and unit else 0
    if nbytes < 1:
        raise UsageError(
            f"max_shard_size={value!r} is no size", remedy='Give bytes, or a text such as "5GB" or "500MiB".'
        )
    return nbytes
