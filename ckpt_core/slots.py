"""slots_of: the arrays of a tree as slots, under the names that the neutral view gives them.

A live model and a file of it go through the same naming, so that what is equal has equal names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ckpt_core.arrays import ArraySpec, LazyArray
from ckpt_core.flat import flat_names
from ckpt_core.framework import Slot
from ckpt_core.keypath import Index, Part, join_name, split_name
from ckpt_core.layouts.base import Place
from ckpt_core.storage import AbstractStorage
from ckpt_core.tree import KeyPath, flatten
from ckpt_core.view import LEAF_SEGMENTS, named_weights

__all__ = ["abstract", "leaf_paths", "slots_of"]


def abstract(spec: ArraySpec, storage: AbstractStorage | None = None) -> LazyArray:
    """Return an array without bytes; those that are given one storage and one spec are tied."""
    return LazyArray(spec.shape, spec.dtype, storage or AbstractStorage(spec.nbytes))


def slots_of(
    tree: Any,
    *,
    params: Iterable[Place] = ((),),
    buffers: Iterable[Place] = (),
    roles: Mapping[KeyPath, str] | None = None,
    layers: Mapping[KeyPath, Mapping[str, Any]] | None = None,
) -> dict[KeyPath, Slot]:
    """Return the slot of every weight, by its key path in the tree.

    Arguments:
        tree: a tree with LazyArrays.
        params, buffers: the subtrees that hold them, as `Roles` has them.
        roles: "param" or "buffer" for the paths of which more is known than their names tell.
        layers: what is known of the layer that holds an array, by path.
    """
    places = {id(leaf): path for path, leaf in flatten(tree) if isinstance(leaf, LazyArray)}
    roles, layers = roles or {}, layers or {}
    sections: dict[str, list[tuple[tuple[str, ...], LazyArray]]] = {"param": [], "buffer": []}
    for segments, array, is_buffer in (*named_weights(tree, params), *named_weights(tree, buffers, True)):
        role = roles.get(places[id(array)], "buffer" if is_buffer else "param")
        sections[role].append((segments, array))
    first: dict[Any, tuple[str, ...]] = {}
    found: dict[KeyPath, Slot] = {}
    for role, pairs in sections.items():
        for name, array in flat_names(pairs):
            path, place = split_name(name), places[id(array)]
            tied = None if array.identity is None else first.setdefault(array.identity, path)
            found[place] = Slot(path, array.spec, role, layers.get(place, {}), None if tied == path else tied)
    return found


def leaf_paths(tree: Any) -> dict[str, KeyPath]:
    """Return the key path of every array and number of a tree by name, as states of optimizers name them.

    The keys joined by `/`, whatever containers they are of: `0/mu/dense/kernel`. A last key `value` or `_raw_value`
    only wraps the array (NNX variables in files, and pickled ones, with what Flax notes on them beside it).
    """
    found: dict[str, KeyPath] = {}
    for path, leaf in flatten(tree):
        if isinstance(leaf, (LazyArray, int, float)) and "_var_metadata" not in path:
            segments = tuple([_segment(key) for key in path])
            short = join_name(segments[:-1] if segments and segments[-1] in LEAF_SEGMENTS else segments)
            found[join_name(segments) if short in found else short] = path
    return found


def _segment(key: Any) -> str:
    if isinstance(key, Part):
        return key.name
    return str(int(key)) if isinstance(key, Index) else str(key)
