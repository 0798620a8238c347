"""The two sides of a transfer: the arrays of a source by name, and what a target expects and already holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.errors import CheckpointError, UsageError
from ckpt_core.framework import Slot, Template
from ckpt_core.live import tree_of
from ckpt_core.opening import checkpoint_of, open_checkpoint
from ckpt_core.registry import registry
from ckpt_core.schema import Checkpoint
from ckpt_core.slots import slots_of
from ckpt_core.storage import AbstractStorage
from ckpt_core.template import abstract_tree, template_of
from ckpt_core.tree import KeyPath, flatten, map_with_path
from ckpt_core.view import nest

__all__ = ["Target", "arrays_by_name", "opened", "target_of"]


def opened(source: Any) -> Checkpoint:
    """Return the checkpoint of a source: a path, an open Checkpoint, a live model, or a tree of arrays.

    Raises:
        CheckpointError: the file cannot be opened, or the value is none of these.
    """
    if isinstance(source, Checkpoint):
        return source
    if isinstance(source, (str, os.PathLike)):
        return open_checkpoint(source)
    for _, framework in registry().frameworks:
        if framework.owns(source):
            return checkpoint_of(Stored(framework.model_state(source)), format="memory")
    return checkpoint_of(Stored(tree_of(source)), format="memory")


def arrays_by_name(ckpt: Checkpoint) -> dict[str, LazyArray]:
    """Return the parameters and buffers of a checkpoint by name, in order.

    Raises:
        UsageError: a parameter and a buffer have the same name.
    """
    params, buffers = dict(ckpt.params.leaves()), dict(ckpt.buffers.leaves())
    both = [name for name in params if name in buffers]
    if both:
        raise UsageError(f"has a parameter and a buffer named {both[0]}", path=ckpt.path or None)
    return params | buffers


@dataclass(frozen=True)
class Target:
    """What a transfer fills.

    Arguments:
        template: the slots.
        initial: the values that the target holds already, by name; empty where it has only shapes.
        tree: the target's own tree, whose leaves are replaced; None where one is built from the names.
        places: where in the tree each slot is.
    """

    template: Template
    initial: Mapping[str, LazyArray] = field(default_factory=dict)
    tree: Any = None
    places: Mapping[str, KeyPath] = field(default_factory=dict)

    def filled(self, arrays: Mapping[str, LazyArray]) -> Any:
        """Return the target's tree with these arrays in their slots."""
        if self.tree is None:
            return arranged(self.template, arrays)
        new = {self.places[name]: array for name, array in arrays.items()}
        return map_with_path(new.get, self.tree)


def target_of(like: Any) -> Target:
    """Return what a target expects, with the values and the tree that it has, where it has them.

    Arguments:
        like: whatever `template_of` takes.
    """
    template = template_of(like)
    if isinstance(like, Template) or (isinstance(like, (str, os.PathLike)) and _is_file_of_json(like)):
        return Target(template)
    try:
        ckpt = opened(like)
    except CheckpointError:
        return Target(template)  # shapes alone, which `template_of` knows how to read
    if isinstance(like, (str, os.PathLike, Checkpoint)):
        return Target(template, _with_bytes(arrays_by_name(ckpt)))
    if isinstance(like, (Mapping, list, tuple)) and not list(arrays_by_name(ckpt)):
        ckpt = checkpoint_of(Stored(abstract_tree(like)[0]), format="memory")
    places = {
        slot.name: path
        for path, slot in slots_of(ckpt.tree, params=ckpt.roles.params, buffers=ckpt.roles.buffers).items()
    }
    if any(slot.name not in places for slot in template.slots):
        return Target(template)
    leaves = dict(flatten(ckpt.tree))
    initial = _with_bytes({name: leaves[path] for name, path in places.items()})
    return Target(template, initial, ckpt.tree, places)


def _is_file_of_json(path: str | os.PathLike[str]) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(256).lstrip()[:1] == b"{"


def _with_bytes(arrays: Mapping[str, LazyArray]) -> dict[str, LazyArray]:
    return {
        name: array
        for name, array in arrays.items()
        if not any(isinstance(piece.storage, AbstractStorage) for piece in array.pieces)
    }


def arranged(template: Template, arrays: Mapping[str, LazyArray], kind: str | None = None) -> Any:
    """Return the tree of a framework with these arrays.

    A torch state dict is flat and dotted. Linen's variables are nested, parameters below "params" and buffers, where
    there are any, below "batch_stats". NNX's pure dict, and the tree of no framework, nest the names as they are.

    Arguments:
        template: the slots.
        arrays: what they hold, by name.
        kind: "torch", "flax", "nnx" or ""; without it that of the template.
    """
    slots = template.by_name()
    kind = template.framework if kind is None else kind
    if kind == "torch":
        return {".".join(slots[name].path): array for name, array in arrays.items()}
    params = {name: array for name, array in arrays.items() if slots[name].role != "buffer"}
    if kind != "flax":
        return _nested((slots[name], array) for name, array in arrays.items())
    tree = {"params": _nested((slots[name], array) for name, array in params.items())}
    buffers = _nested((slots[name], arrays[name]) for name in arrays if name not in params)
    return {**tree, "batch_stats": buffers} if buffers else tree


def _nested(pairs: Iterable[tuple[Slot, LazyArray]]) -> dict[str, Any]:
    tree: dict[str, Any] = _plain(nest((slot.path, array) for slot, array in pairs))
    return tree


def _plain(tree: Any) -> Any:
    return {key: _plain(child) for key, child in tree.items()} if isinstance(tree, dict) else tree
