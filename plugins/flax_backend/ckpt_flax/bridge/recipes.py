"""Live optax transformations and states: made from recipes, and filled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import jax.numpy as jnp
import optax

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UnsupportedError
from ckpt_core.optimizers.recipe import Call, Name
from ckpt_core.tree import get, render_path
from ckpt_flax.bridge import transforms
from ckpt_flax.bridge.pytrees import skeleton_of

__all__ = ["build", "live_state"]

_SCHEDULES: Final = [
    "constant_schedule",
    "cosine_decay_schedule",
    "exponential_decay",
    "linear_schedule",
    "piecewise_constant_schedule",
    "polynomial_schedule",
    "join_schedules",
    "warmup_cosine_decay_schedule",
]
_FUNCTIONS: Final[Mapping[str, Any]] = {
    **{
        f"optax.{name}": vars(optax)[name]
        for name in [
            "adadelta",
            "adagrad",
            "adam",
            "adamax",
            "adamaxw",
            "adamw",
            "add_decayed_weights",
            "amsgrad",
            "chain",
            "clip_by_global_norm",
            "lion",
            "multi_transform",
            "nadam",
            "nadamw",
            "radam",
            "rmsprop",
            "rprop",
            "scale",
            "scale_by_learning_rate",
            "scale_by_rms",
            "scale_by_stddev",
            "set_to_zero",
            "sgd",
            "trace",
            *_SCHEDULES,
        ]
    },
    **{f"ckpt_flax.transforms.{name}": vars(transforms)[name] for name in transforms.__all__},
}
"""What a recipe may call."""


def build(recipe: Any) -> Any:
    """Make a recipe live.

    Raises:
        UnsupportedError: it calls a function that is not in the table, or lacks a value for one of its names.
    """
    if isinstance(recipe, Call):
        function = _FUNCTIONS.get(recipe.function)
        if function is None:
            raise UnsupportedError(f"{recipe.function} is no optax function that recipes use")
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
