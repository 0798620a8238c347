"""What the state of an optax optimizer expects: every array and number of it, by name."""

from __future__ import annotations

from ckpt_core.arrays import LazyArray
from ckpt_core.framework import OptimizerTemplate, Slot
from ckpt_core.keypath import split_name
from ckpt_core.slots import leaf_paths
from ckpt_core.tree import KeyPath, get
from ckpt_flax.bridge.models import is_train_state, named_slots, optimizer_pytree, pytree_of
from ckpt_flax.bridge.pytrees import Skeleton, skeleton_of

__all__ = ["paths_beside", "template"]


def template(model: object, optimizer: object | None) -> OptimizerTemplate | None:
    """Return what an optimizer's state holds; without one, what a TrainState has besides its weights.

    Raises:
        UsageError: it is an optax transformation, which keeps no state.
    """
    if optimizer is not None:
        skeleton = skeleton_of(optimizer_pytree(optimizer))
        return OptimizerTemplate(slots=_slots(skeleton, leaf_paths(skeleton.tree)))
    if not is_train_state(model):
        return None
    pytree = pytree_of(model)
    skeleton = skeleton_of(pytree)
    return OptimizerTemplate(slots=_slots(skeleton, paths_beside(skeleton, pytree)), is_beside=True)


def paths_beside(skeleton: Skeleton, pytree: object) -> dict[str, KeyPath]:
    """Return the key paths of what a train state holds besides its weights, by name."""
    weights = named_slots(skeleton, pytree)
    return {name: path for name, path in leaf_paths(skeleton.tree).items() if path not in weights}


def _slots(skeleton: Skeleton, paths: dict[str, KeyPath]) -> tuple[Slot, ...]:
    slots = []
    for name, path in paths.items():
        leaf = get(skeleton.tree, path)
        if isinstance(leaf, LazyArray):
            slots.append(Slot(split_name(name), leaf.spec, "optimizer"))
    return tuple(slots)
