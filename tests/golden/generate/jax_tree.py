"""Expected trees of live jax, flax and optax objects; runs with jax 0.4.13 to 0.10."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from golden import Arr, Opaque, Rec, Special, of


def put(made: Arr) -> Any:
    """Return a jax array with the same bits; the dtype must be one that jax has."""
    out = jax.numpy.asarray(made.numpy()) if made.shape else jax.device_put(made.numpy())
    assert out.dtype.name == made.dtype, (out.dtype, made.dtype)
    return out


def from_jax(made: Arr) -> Arr:
    """Return the bytes that jax hands back: for int4 and int2 it leaves the unused high bits of each byte clear."""
    return of(np.asarray(put(made))) if made.dtype in ("int4", "int2") else made


def type_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def neutral(value: Any, *, classes: bool = True) -> Any:
    """Return the expected tree of a live object.

    Arguments:
        classes: False where the container keeps no classes (msgpack, Orbax): records become dicts.
    """

    def record(name: str, fields: dict[str, Any]) -> Any:
        return Rec(name, fields) if classes else fields

    def inner(child: Any) -> Any:
        return neutral(child, classes=classes)

    if isinstance(value, (Arr, Rec, Special, Opaque)):
        return value
    if isinstance(value, (jax.Array, np.ndarray)) and not isinstance(value, np.generic):
        return of(np.asarray(value))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return record(type_name(value), {name: inner(value[i]) for i, name in enumerate(value._fields)})
    if type(value).__name__ == "FrozenDict":
        return record(type_name(value), {key: inner(child) for key, child in value.items()})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return record(type_name(value), {name: inner(child) for name, child in vars(value).items()})
    if isinstance(value, dict):
        return {key: inner(child) for key, child in value.items()}
    if type(value) in (list, tuple):
        return type(value)(inner(child) for child in value)
    if callable(value):
        return Opaque(None, [])
    return value


def filled(tree: Any, seed: str) -> Any:
    """Return the tree with every array leaf replaced by seeded bits of its shape and dtype."""
    from golden import arr

    leaves, treedef = jax.tree_util.tree_flatten(tree)
    made = [
        put(arr(f"{seed}/{i}", np.asarray(leaf).dtype.name, np.shape(leaf))) for i, leaf in enumerate(leaves)
    ]
    return jax.tree_util.tree_unflatten(treedef, made)


def train_state(seed: str, optimizer: str = "chain", **options: Any) -> Any:
    """Return a Flax TrainState with seeded bits; `options` replace fields such as apply_fn and tx."""
    import optax
    from flax.training.train_state import TrainState

    tx = {
        "chain": lambda: optax.chain(
            optax.clip_by_global_norm(1.0),
            optax.adamw(optax.cosine_decay_schedule(1e-3, 100), weight_decay=0.1),
        ),
        "adam": lambda: optax.adam(1e-3),
        "sgd": lambda: optax.sgd(0.1, momentum=0.9),
        "multi": lambda: optax.multi_transform(
            {"a": optax.adam(1e-3), "b": optax.sgd(0.1, momentum=0.9)}, {"dense": "a", "norm": "b"}
        ),
        "inject": lambda: optax.inject_hyperparams(optax.adam)(learning_rate=1e-3),
    }[optimizer]()
    shapes = {"dense": {"kernel": (3, 2), "bias": (2,)}, "norm": {"scale": (3,)}}
    params = {k: {n: jax.numpy.zeros(s, "float32") for n, s in v.items()} for k, v in shapes.items()}
    state = TrainState.create(apply_fn=None, params=params, tx=tx)
    state = state.replace(
        params=filled(state.params, f"{seed}/params"), opt_state=filled(state.opt_state, f"{seed}/opt")
    )
    return state.replace(step=jax.numpy.asarray(7, "int32"), **options)
