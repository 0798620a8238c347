"""What a Flax model expects and holds: linen variables, TrainStates, NNX modules and states."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Mapping
from typing import Any

import jax

from ckpt_core.backend import Stored
from ckpt_core.errors import UsageError
from ckpt_core.framework import Slot, Template
from ckpt_core.layouts import Place
from ckpt_core.opening import checkpoint_of
from ckpt_core.slots import slots_of
from ckpt_core.tree import KeyPath
from ckpt_flax.bridge import layers
from ckpt_flax.bridge.arrays import from_jax
from ckpt_flax.bridge.pytrees import Skeleton, is_random_key, skeleton_of

__all__ = [
    "is_train_state",
    "model_state",
    "named_slots",
    "optimizer_pytree",
    "optimizer_state",
    "owns",
    "pytree_of",
    "template",
]


def owns(value: object) -> bool:
    """Say whether a value is a model, its state or an array of Flax, or the class of one."""
    linen, nnx, core = (sys.modules.get(name) for name in ("flax.linen", "flax.nnx", "flax.core"))
    kinds: tuple[type, ...] = (jax.Array, jax.ShapeDtypeStruct)
    if core is not None:
        kinds += (core.FrozenDict,)
    if linen is not None:
        kinds += (linen.Module,)
    if nnx is not None:
        kinds += (nnx.Module, nnx.State, nnx.Optimizer)
    if inspect.isclass(value):
        return issubclass(value, kinds) or _is_flax_dataclass(value)
    return isinstance(value, kinds) or _is_flax_dataclass(type(value)) or _is_pair(value)


def template(model: object) -> Template:
    """Return what a model expects: names, shapes, dtypes, and the layers that hold them where they are known.

    Raises:
        UsageError: it is a class, or a linen module without its variables; says how to make a model.
    """
    pytree = pytree_of(model)
    skeleton = skeleton_of(pytree)
    slots = named_slots(skeleton, pytree, layers.layers_of(model, skeleton))
    _, optional = _kinds(pytree)
    extra = {path for path, i in skeleton.positions.items() if i in optional}
    return Template(
        tuple(slot for path, slot in slots.items() if path not in extra),
        "flax",
        optional=tuple(slot.path for path, slot in slots.items() if path in extra),
    )


def named_slots(
    skeleton: Skeleton, pytree: Any, held_by: Mapping[KeyPath, Mapping[str, Any]] | None = None
) -> dict[KeyPath, Slot]:
    """Return the slot of each weight of a model by its key path, random streams and the like among them."""
    nnx = sys.modules.get("flax.nnx")
    # all of it is the model, whatever it calls its modules
    if nnx is not None and isinstance(pytree, nnx.State):
        params: tuple[Place, ...] = ((),)
        buffers: tuple[Place, ...] = ()
    else:
        roles = checkpoint_of(Stored(skeleton.tree), format="memory").roles
        params, buffers = roles.params, roles.buffers
    kinds, _ = _kinds(pytree)
    return slots_of(
        skeleton.tree,
        params=params,
        buffers=buffers,
        roles={path: kinds[i] for path, i in skeleton.positions.items() if i in kinds},
        layers=held_by,
    )


def pytree_of(model: object) -> Any:
    """Return the pytree of arrays that a model is, or holds.

    Raises:
        UsageError: it is a class, or a linen module without its variables; says how to make a model.
    """
    linen, nnx = sys.modules.get("flax.linen"), sys.modules.get("flax.nnx")
    if inspect.isclass(model):
        raise UsageError(f"{model.__name__} is a class, not a model", remedy=_making(model))
    if _is_pair(model):
        return model[1]  # type: ignore[index]  # a tuple of two
    if linen is not None and isinstance(model, linen.Module):
        if model.scope is None:
            raise UsageError(
                f"a linen {type(model).__name__} holds no arrays of its own",
                remedy="Pass its variables, or (module, variables). Without training them: "
                "variables = jax.eval_shape(module.init, jax.random.key(0), INPUTS).",
            )
        return model.variables
    if nnx is not None and isinstance(model, nnx.Optimizer):
        raise UsageError("an nnx.Optimizer is no model", remedy="Pass the model first, then the optimizer.")
    if nnx is not None and isinstance(model, nnx.Module):
        return nnx.state(model)
    return model


def model_state(model: object) -> Any:
    """Return the tree that a file of a model holds, its arrays as LazyArrays."""
    pytree = pytree_of(model)
    abstract = [leaf for leaf in jax.tree_util.tree_leaves(pytree) if isinstance(leaf, jax.ShapeDtypeStruct)]
    if abstract:
        raise UsageError(
            "has no values: it was made by jax.eval_shape",
            remedy="Fill it first: model = restore(CHECKPOINT, model).model.",
        )
    return from_jax(pytree)


def optimizer_state(optimizer: object) -> Any:
    """Return the tree that a file of an optimizer's state holds, its arrays as LazyArrays."""
    return from_jax(optimizer_pytree(optimizer))


def optimizer_pytree(optimizer: object) -> Any:
    """Return the pytree of an optimizer's state.

    Raises:
        UsageError: it is an optax transformation, which keeps none.
    """
    optax, nnx = sys.modules.get("optax"), sys.modules.get("flax.nnx")
    if optax is not None and isinstance(optimizer, optax.GradientTransformation):
        raise UsageError(
            "an optax transformation keeps no state of its own",
            remedy="Pass its state: opt_state = tx.init(params).",
        )
    if nnx is not None and isinstance(optimizer, nnx.Optimizer):
        # An optimizer of older Flax holds its model too, which is saved on its own.
        return nnx.state(optimizer, nnx.optimizer.OptState)
    return optimizer


def is_train_state(model: object) -> bool:
    """Say whether a model is a dataclass that has more than weights in it: an optimizer's state, a step."""
    return not inspect.isclass(model) and _is_flax_dataclass(type(model))


def _kinds(pytree: Any) -> tuple[dict[int, str], set[int]]:
    """The roles that the types of NNX variables tell, and which leaves are no part of a model, by position.

    Random streams and what was sown for looking at are the program's, not the model's.
    """
    nnx = sys.modules.get("flax.nnx")
    kinds: dict[int, str] = {}
    optional: set[int] = set()
    if nnx is None or not isinstance(pytree, nnx.State):
        return kinds, optional
    variables = jax.tree_util.tree_leaves(pytree, is_leaf=lambda node: isinstance(node, nnx.Variable))
    position = 0
    for variable in variables:
        count = len(jax.tree_util.tree_leaves(variable))
        for i in range(position, position + count):
            if isinstance(variable, (nnx.RngState, nnx.Intermediate)) or is_random_key(variable):
                optional.add(i)
            else:
                kinds[i] = "param" if isinstance(variable, nnx.Param) else "buffer"
        position += count
    return kinds, optional


def _is_pair(value: object) -> bool:
    linen = sys.modules.get("flax.linen")
    return (
        linen is not None
        and isinstance(value, tuple)
        and len(value) == 2
        and isinstance(value[0], linen.Module)
    )


def _is_flax_dataclass(kind: type) -> bool:
    """Say whether a class is one of `flax.struct.dataclass`, which marks them so (`flax/struct.py`)."""
    return dataclasses.is_dataclass(kind) and "_flax_dataclass" in vars(kind)


def _making(kind: type) -> str:
    linen, nnx = sys.modules.get("flax.linen"), sys.modules.get("flax.nnx")
    if nnx is not None and issubclass(kind, nnx.Module):
        return (
            f"Make one: model = {kind.__name__}(..., rngs=nnx.Rngs(0)), or without its arrays: "
            f"nnx.eval_shape(lambda: {kind.__name__}(..., rngs=nnx.Rngs(0)))."
        )
    if linen is not None and issubclass(kind, linen.Module):
        return (
            f"Make its variables: module = {kind.__name__}(...); "
            "variables = module.init(jax.random.key(0), INPUTS)."
        )
    return f"Make one first: {kind.__name__}.create(...)."
