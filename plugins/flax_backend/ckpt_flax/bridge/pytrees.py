"""A pytree as a tree of arrays without bytes, each of which remembers which leaf of the pytree it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jax
import numpy as np

from ckpt_core.arrays import ArraySpec, LazyArray
from ckpt_core.dtypes import name_of
from ckpt_core.errors import UnsupportedError
from ckpt_core.live import tree_of
from ckpt_core.slots import abstract
from ckpt_core.tree import KeyPath, Record, flatten
from ckpt_flax.bridge.arrays import prepared
from ckpt_flax.orbax.items import RANDOM_KEY

__all__ = ["Skeleton", "is_random_key", "skeleton_of", "spec"]

_NUMBERS: Final[Mapping[type, str]] = {bool: "bool", int: "int64", float: "float64"}


@dataclass(frozen=True)
class Skeleton:
    """A pytree taken apart.

    Arguments:
        tree: the tree that a file of it would hold, its arrays without bytes.
        leaves: the pytree's leaves in jax's order.
        treedef: what puts leaves together again.
        positions: the position of a leaf by the key path that its array has in `tree`.
    """

    tree: Any
    leaves: list[Any]
    treedef: Any
    positions: dict[KeyPath, int]

    def with_leaves(self, leaves: list[Any]) -> Any:
        """Return the pytree with other leaves."""
        return jax.tree_util.tree_unflatten(self.treedef, leaves)


def skeleton_of(pytree: Any) -> Skeleton:
    """Take a pytree apart: variables, a TrainState, an optimizer's state, or `jax.eval_shape` of one.

    Python's numbers count as arrays without dimensions, since a file may hold them so.
    """
    leaves, treedef = jax.tree_util.tree_flatten(pytree)
    stand_ins = [_stand_in(leaf) for leaf in leaves]
    numbers = {id(array): i for i, item in enumerate(stand_ins) if (array := _array_in(item)) is not None}
    tree = tree_of(prepared(jax.tree_util.tree_unflatten(treedef, stand_ins)))
    positions = {path: numbers[id(leaf)] for path, leaf in flatten(tree) if id(leaf) in numbers}
    return Skeleton(tree, leaves, treedef, positions)


def spec(value: Any) -> ArraySpec | None:
    """Return the shape and dtype of a jax array or a `jax.ShapeDtypeStruct`; None for anything else.

    That of a typed random key is the one of its words, as files hold them.
    """
    if isinstance(value, np.ndarray) or not isinstance(value, (jax.Array, jax.ShapeDtypeStruct)):
        return None
    if is_random_key(value):
        words = jax.eval_shape(jax.random.key_data, value)
        return ArraySpec(tuple(words.shape), str(words.dtype))
    dtype = name_of(np.dtype(value.dtype))
    if dtype is None:
        raise UnsupportedError(f"jax dtype {value.dtype} is not an array of numbers")
    return ArraySpec(tuple(value.shape), dtype)


def is_random_key(value: Any) -> bool:
    """Say whether it is a typed random key, live or abstract."""
    return isinstance(value, (jax.Array, jax.ShapeDtypeStruct)) and jax.dtypes.issubdtype(
        value.dtype, jax.dtypes.prng_key
    )


def _stand_in(leaf: Any) -> Any:
    found = _spec_of(leaf)
    if found is None:
        return leaf
    if is_random_key(leaf):
        impl = str(jax.random.key_impl(leaf)) if isinstance(leaf, jax.Array) else ""
        return Record(RANDOM_KEY, {"impl": impl, "data": abstract(found)})
    return abstract(found)


def _spec_of(leaf: Any) -> ArraySpec | None:
    if isinstance(leaf, LazyArray):
        return leaf.spec
    if type(leaf) in _NUMBERS:
        return ArraySpec((), _NUMBERS[type(leaf)])
    if isinstance(leaf, np.ndarray):
        dtype = name_of(leaf.dtype)
        return None if dtype is None else ArraySpec(leaf.shape, dtype)
    return spec(leaf)


def _array_in(item: Any) -> LazyArray | None:
    if isinstance(item, Record):
        return item["data"]  # type: ignore[no-any-return]  # made by _stand_in
    return item if isinstance(item, LazyArray) else None
