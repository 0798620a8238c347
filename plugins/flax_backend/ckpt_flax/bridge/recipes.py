"""Live optax transformations and states: made from recipes, and filled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import jax.numpy as jnp

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UnsupportedError
from ckpt_core.families.pieces import COMMON
from ckpt_core.families.recipe import Call, Name, function_named
from ckpt_core.optimizers.table import families
from ckpt_core.tree import get, render_path
from ckpt_flax.bridge.pytrees import skeleton_of

__all__ = ["build", "live_state"]

_OTHERS: Final = frozenset(
    [f"optax.{name}" for name in ("chain", "multi_transform")]
    + [
        f"optax.{name}"
        for name in (
            "exponential_decay",
            "linear_schedule",
            "piecewise_constant_schedule",
            "polynomial_schedule",
            "join_schedules",
        )
    ]
    + [
        f"ckpt_flax.transforms.{name}"
        for name in ("cosine_annealing", "cosine_restarts", "every", "labels_by_name", "mask_by_name")
    ]
)
"""What a recipe may call besides the rules of families: what arranges them, and schedules."""


def _known() -> frozenset[str]:
    return _OTHERS.union(COMMON, *(family.functions for family in families()))


def build(recipe: Any) -> Any:
    """Make a recipe live.

    Raises:
        UnsupportedError: it calls a function that no family of rules knows, or lacks a value for one of its names.
    """
    if isinstance(recipe, Call):
        function = function_named(recipe.function, _known())
        return function(
            *map(build, recipe.args), **{key: build(value) for key, value in recipe.kwargs.items()}
        )
    if isinstance(recipe, Name):
        if recipe.value is None:
            raise UnsupportedError(f"the recipe needs a value for {recipe.name}")
        return recipe.value
    if isinstance(recipe, Mapping):
        return {key: build(value) for key, value in recipe.items()}
    if isinstance(recipe, (list, tuple)):
        return type(recipe)(map(build, recipe))
    return recipe


def live_state(native: Any, like: Any) -> Any:
    """Return an optax state of the structure of `like` with the arrays of a tree.

    Arguments:
        native: the tree.
        like: a live state, such as `tx.init(params)` makes, or `jax.eval_shape` of it.

    Raises:
        UnsupportedError: the tree lacks an array of the state, or has one of another shape; names it.
    """
    skeleton = skeleton_of(like)
    leaves = list(skeleton.leaves)
    for path, i in skeleton.positions.items():
        try:
            array = get(native, path)
        except KeyError:
            array = None
        expected = get(skeleton.tree, path).shape
        if not isinstance(array, LazyArray) or array.shape != expected:
            found = list(array.shape) if isinstance(array, LazyArray) else "nothing"
            raise UnsupportedError(
                f"the optimizer holds an array {list(expected)} where the state has {found}",
                place=render_path(path),
                remedy="It was made by another constructor than suggest_optimizer proposes.",
            )
        leaves[i] = jnp.asarray(array.read())
    return skeleton.with_leaves(leaves)
