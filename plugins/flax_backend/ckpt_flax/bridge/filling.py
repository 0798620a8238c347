"""Filling a Flax model and the state of its optimizer: all of both, or neither.

Everything is read to host memory first, which costs the bytes once; then it goes to the devices leaf by leaf. Trees
are made anew. An NNX model is changed in place at the end, when nothing can fail any more.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UsageError
from ckpt_core.framework import Filled, Filling
from ckpt_core.slots import leaf_paths
from ckpt_core.tree import KeyPath
from ckpt_flax.bridge.models import named_slots, optimizer_pytree, pytree_of
from ckpt_flax.bridge.optimizers import paths_beside
from ckpt_flax.bridge.placement import placed, shardings_for, where_is
from ckpt_flax.bridge.pytrees import Skeleton, skeleton_of

__all__ = ["fill"]


def fill(filling: Filling) -> Filled:
    """Fill a model from arrays by slot name, and the state of its optimizer likewise."""
    nnx = sys.modules.get("flax.nnx")
    is_nnx = nnx is not None and isinstance(filling.model, nnx.Module)
    if filling.mode is not None and (not is_nnx or filling.mode not in ("eval", "train")):
        raise UsageError(
            f"mode={filling.mode!r}",
            remedy='It is "eval" or "train", for torch and NNX. A linen model has no mode: its call takes an argument.',
        )
    pytree = pytree_of(filling.model)
    skeleton = skeleton_of(pytree)
    slots = named_slots(skeleton, pytree)
    wanted = {
        path: filling.weights[slot.name] for path, slot in slots.items() if slot.name in filling.weights
    }
    if filling.optimizer is None and filling.state is not None:
        wanted |= _by_path(paths_beside(skeleton, pytree), filling.state)
    places = shardings_for(skeleton, filling.device, filling.sharding)
    data = _read(skeleton, wanted)
    second = None
    if filling.optimizer is not None and filling.state is not None:
        second = skeleton_of(optimizer_pytree(filling.optimizer))
        more = _read(second, _by_path(leaf_paths(second.tree), filling.state))
        optimizer = _put(second, more, shardings_for(second, filling.device, None))
    model = _put(skeleton, data, places)
    trainable = frozenset(slot.name for slot in slots.values() if slot.role == "param")
    device = where_is(jax.tree_util.tree_leaves(model))
    if not is_nnx:
        return Filled(model, filling.optimizer if second is None else optimizer, device, "", trainable)
    return _updated(nnx, filling, model, None if second is None else optimizer, device, trainable)


def _updated(
    nnx: Any, filling: Filling, state: Any, optimizer: Any, device: str, trainable: frozenset[str]
) -> Filled:
    nnx.update(filling.model, state)
    own = filling.optimizer
    if optimizer is not None and isinstance(own, nnx.Optimizer):
        nnx.update(own, optimizer)
    elif optimizer is not None:
        own = optimizer
    if filling.mode is not None:
        {"eval": filling.model.eval, "train": filling.model.train}[filling.mode]()
    hint = "model.eval() or model.train()"
    return Filled(filling.model, own, device, filling.mode or "as it was", trainable, hint)


def _by_path(paths: Mapping[str, KeyPath], values: Mapping[str, Any]) -> dict[KeyPath, Any]:
    return {path: values[name] for name, path in paths.items() if name in values}


def _read(skeleton: Skeleton, wanted: Mapping[KeyPath, Any]) -> dict[int, np.ndarray]:
    """Read everything to host memory, by the position of the leaf that it is for.

    Raises:
        UsageError: a leaf without a value would get none.
    """
    by_position = {skeleton.positions[path]: value for path, value in wanted.items()}
    hollow = [
        path
        for path, i in skeleton.positions.items()
        if isinstance(skeleton.leaves[i], jax.ShapeDtypeStruct) and i not in by_position
    ]
    if hollow:
        names = ", ".join("/".join(map(str, path)) for path in hollow[:5])
        raise UsageError(
            f"{len(hollow)} arrays made by jax.eval_shape would get no value: {names}",
            remedy="Where a part stays as it is, it must have values: use init, not eval_shape.",
        )
    return {
        i: value.read() if isinstance(value, LazyArray) else np.asarray(value)
        for i, value in by_position.items()
    }


def _put(skeleton: Skeleton, data: dict[int, np.ndarray], shardings: list[Any]) -> Any:
    leaves = list(skeleton.leaves)
    order = list(data)
    made = placed([data.pop(i) for i in order], [leaves[i] for i in order], [shardings[i] for i in order])
    for i, leaf in zip(order, made, strict=True):
        leaves[i] = leaf
    return skeleton.with_leaves(leaves)
