"""What Flax and Orbax users save: train states, variables, NNX states, items of a CheckpointManager."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.layouts.base import Layout, Parts, Roles, below, merged
from ckpt_core.layouts.parts import only, present, without
from ckpt_core.layouts.spelling import COLLECTIONS, claim_with_descriptions, spelled_role
from ckpt_core.layouts.values import are_layers, is_module, is_random_key, is_state_dict, is_weights, value_of
from ckpt_core.tree import children

__all__ = ["Items", "NnxState", "TrainState", "Variables", "statistics_alone"]


class TrainState(Layout):
    """A Flax TrainState, or a dict with its fields: params, opt_state, step."""

    name = "train_state"
    describes = "a Flax TrainState: params, opt_state, step"
    is_general = True

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or not _are_params(tree.get("params")):
            return None
        if not any(key in tree for key in ("opt_state", "step", "tx")):
            return None
        return claim_with_descriptions(tree)

    def build(self, parts: Parts) -> tuple[Any, tuple[str, ...]]:
        tree = present(
            step=parts.step, params=parts.params, batch_stats=parts.buffers, opt_state=only(parts.opt_states)
        )
        return tree, without(parts, "params buffers opt_states step")


def _are_params(node: Any) -> bool:
    return is_weights(node) or are_layers(node)


class Variables(Layout):
    """Flax variables: `{'params': ..., 'batch_stats': ...}`."""

    name = "variables"
    describes = "Flax variables: params, and collections such as batch_stats"
    is_general = True

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or not is_weights(tree.get("params")):
            return None
        others = [key for key in tree if key != "params"]
        if not all(key in COLLECTIONS for key in others):
            return None
        return Roles(params=(("params",),), buffers=tuple((key,) for key in others))

    def build(self, parts: Parts) -> tuple[Any, tuple[str, ...]]:
        return present(params=parts.params, batch_stats=parts.buffers), without(parts, "params buffers")


def statistics_alone(node: Any) -> Roles | None:
    """Return the roles of `batch_stats` that a file has beside the parameters: means and variances, and no more."""
    stack, found = [node], False
    while stack:
        item = stack.pop()
        if not isinstance(item, Mapping) or not item:
            return None
        if item.keys() != _STATISTICS:
            stack += item.values()
        elif all(isinstance(array, LazyArray) for array in item.values()):
            found = True
        else:
            return None
    return Roles(buffers=((),)) if found else None


_STATISTICS: Final = frozenset({"mean", "var"})


class NnxState(Layout):
    """An `nnx.State`: nested by module, with each array in a variable, below a last key `value` where no type is."""

    name = "nnx_state"
    describes = "an nnx.State: nested by module, each array below a last key 'value'"
    is_general = True

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or is_module(tree) or not tree or not _is_state(tree):
            return None
        roles = [spelled_role(key, value) if isinstance(key, str) else None for key, value in tree.items()]
        if "opt_states" in roles or set(roles) == {"params"}:
            return None  # several states, or one below a key for a model's weights
        return Roles(params=((),))


def _is_state(tree: Mapping[Any, Any]) -> bool:
    """Say whether there is a variable in every place, and nothing else anywhere."""
    stack: list[Mapping[Any, Any]] = [tree]
    found = False
    while stack:
        for key, child in children(stack.pop()) or []:
            if not isinstance(child, Mapping) or not isinstance(key, (str, int)):
                return False
            if value_of(child) is not child and _is_value(value_of(child)):
                found = True
            else:
                stack.append(child)
    return found


def _is_value(node: Any) -> bool:
    return isinstance(node, LazyArray) or is_random_key(node)


class Items(Layout):
    """One state among other items: `{'default': ..., 'metrics': ...}`, a step of a CheckpointManager.

    Arguments:
        rows: the rows that may recognise the state.
    """

    name = "items"
    describes = "one state beside other items: default or state, and metrics"
    is_general = True

    def __init__(self, rows: tuple[Layout, ...]) -> None:
        self.rows = rows

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or is_module(tree) or is_state_dict(tree):
            return None
        states = [key for key, value in tree.items() if key in _STATES and is_weights(value)]
        if len(states) != 1:
            return None
        (key,) = states
        for row in self.rows:
            inner = row.recognise(tree[key])
            if inner is not None:
                beside = claim_with_descriptions({name: item for name, item in tree.items() if name != key})
                roles = merged(below(inner, (key,)), dataclasses.replace(beside, params=()))
                return dataclasses.replace(roles, rows={(): self.name, (key,): row.name, **roles.rows})
        return None


_STATES: Final = ("default", "state", "pytree", "train_state", "checkpoint")
