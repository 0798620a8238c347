"""OrbaxBackend: directories written by `orbax.checkpoint`, without Orbax and without jax."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Backend, Holds, Stored
from ckpt_core.errors import CheckpointError, UnsupportedError
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_core.tree import Global, Record
from ckpt_flax.orbax.foreign import foreign
from ckpt_flax.orbax.items import open_item
from ckpt_flax.orbax.jsontext import read_object
from ckpt_flax.orbax.layout import (
    check_committed,
    is_item,
    is_orbax,
    item_names,
    single_step,
    step_number,
    steps,
)
from ckpt_flax.orbax.writing import DTYPES, write_checkpoint

__all__ = ["OrbaxBackend"]

_V1: Final = ".experimental.v1."
"""Part of the names of the handlers with which Orbax's v1 interface saves."""


class OrbaxBackend(Backend):
    """Orbax directories: items, checkpoints of one or several items, steps of a CheckpointManager.

    A checkpoint of one item that was saved without a name is that item's tree; items with names are a dict of
    trees. The directory of a CheckpointManager opens when it holds one step.
    """

    name = "orbax"
    framework = "flax"
    suffixes = ("_orbax", ".orbax")
    looks_for = "_METADATA, _CHECKPOINT_METADATA, manifest.ocdbt or steps that hold one"
    holds = Holds(
        dtypes=DTYPES,
        values=frozenset({"None", "bool", "int", "float", "str"}),
        containers=frozenset({"dict", "list"}),
        unique_names=True,
        pointed_texts=True,
    )

    def sniff(self, source: Source) -> bool:
        return is_orbax(source)

    def open(self, source: Source) -> Stored:
        check_committed(source)
        found = steps(source)
        if found:
            stored = _of_step(_open_checkpoint(single_step(source, found)), found[0].number, source)
            return replace(stored, notes=(f"the only step is {found[0].number}", *stored.notes))
        stored = _open_checkpoint(source)
        if source.path == f"{source.top}/{source.name}":
            root = source.parent()
            for step in steps(root):
                if step.name == source.name:
                    return _of_step(stored, step.number, root)
        number = step_number(source)
        return stored if number is None else _of_step(stored, number)

    def foreign(self, source: Source) -> tuple[str, ...]:
        return foreign(source)

    def adopt(self, value: object) -> LazyArray | Record | Global | None:
        if "jax" not in sys.modules:
            return None
        from ckpt_flax.bridge import arrays

        return arrays.adopt(value)

    def save(self, stored: Stored, sink: Sink, options: Mapping[str, object]) -> None:
        write_checkpoint(stored, sink)


def _of_step(stored: Stored, number: int, root: Source | None = None) -> Stored:
    """Keep with a step what it does not hold itself: its number, and the metadata of all steps of its manager."""
    shared = {} if root is None else _of_all_steps(root)
    return replace(stored, attributes={**shared, "step": number, **stored.attributes})


def _of_all_steps(source: Source) -> dict[str, Any]:
    """Return the metadata that a CheckpointManager was given for all of its steps (a bare JSON object at first)."""
    if source.has("metadata/_ROOT_METADATA"):
        document = read_object(source.member("metadata/_ROOT_METADATA"))
        custom = document.get("custom_metadata", document.get("custom"))  # the latter up to Orbax 0.11.5
        return dict(custom) if isinstance(custom, dict) else {}
    if source.has("metadata/metadata"):
        return read_object(source.member("metadata/metadata"))
    return {}


def _open_checkpoint(source: Source) -> Stored:
    """Open an item, or a directory of items."""
    document = _root_metadata(source)
    custom = document.get("custom_metadata")
    attributes: dict[str, Any] = dict(custom) if isinstance(custom, dict) else {}
    notes = [] if document.get("commit_timestamp_nsecs", 1) else ["Orbax recorded no time of commit"]
    if is_item(source):
        item = open_item(source)
        return Stored(item.tree, {**attributes, **item.attributes}, (*notes, *item.notes))
    names = item_names(source)
    if len(names) == 1 and _is_unnamed(names[0], source, document):
        item = _open_named(source, names[0])
        return Stored(item.tree, {**attributes, **item.attributes}, (*notes, *item.notes))
    if not names:
        raise UnsupportedError(
            "is marked as an Orbax checkpoint and holds no item that is known here", path=source.path
        )
    tree: dict[str, Any] = {}
    for name in names:
        item = _open_named(source, name)
        tree[name] = item.tree
        if item.attributes:
            attributes[name] = dict(item.attributes)
        notes += [f"{name}: {note}" for note in item.notes]
    return Stored(tree, attributes, tuple(notes))


def _open_named(source: Source, name: str) -> Stored:
    member = source.member(name)
    try:
        return open_item(member) if is_item(member) else _open_checkpoint(member)
    except CheckpointError as error:
        raise error.located(member.path) from error.__cause__


def _is_unnamed(name: str, source: Source, document: Mapping[str, Any]) -> bool:
    """Say whether an item got its name from Orbax: `default`, and in v1 `state` (`pytree` at first)."""
    if name in ("state", "pytree"):
        return source.has("orbax.checkpoint") or _V1 in str(document.get("item_handlers"))
    return name == "default"


def _root_metadata(source: Source) -> dict[str, Any]:
    """Return what `_CHECKPOINT_METADATA` says, or nothing where there is none."""
    if not source.has("_CHECKPOINT_METADATA"):
        return {}
    member = source.member("_CHECKPOINT_METADATA")
    return read_object(member) if member.size else {}
