"""What Flax and Orbax users save: train states, variables, NNX states, items of a CheckpointManager."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.layouts.base import Layout, Leaves, Parts, Roles, below, merged
from ckpt_core.layouts.parts import only, present, without
from ckpt_core.layouts.spelling import COLLECTIONS, claim_by_spelling
from ckpt_core.layouts.values import is_module, is_random_key, is_state_dict, is_weights
from ckpt_core.tree import Index, KeyPath, children

__all__ = ["Items", "NnxState", "TrainState", "Variables"]


class TrainState(Layout):
    """A Flax TrainState, or a dict with its fields: params, opt_state, step."""

    name = "train_state"
    describes = "a Flax TrainState: params, opt_state, step"
    is_general = True

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or not is_weights(tree.get("params")):
            return None
        if not any(key in tree for key in ("opt_state", "step", "tx")):
            return None
        return claim_by_spelling(tree)

    def build(self, parts: Parts) -> tuple[Any, tuple[str, ...]]:
        tree = present(
            step=parts.step, params=parts.params, batch_stats=parts.buffers, opt_state=only(parts.opt_states)
        )
        return tree, without(parts, "params buffers opt_states step")


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


class NnxState(Layout):
    """An `nnx.State`: nested by module, with each array below a last key `value`.

    The file names no types of variables. The running mean and variance of a normalisation, and the count and
    key of a random stream, are told by standing beside one another.
    """

    name = "nnx_state"
    describes = "an nnx.State: nested by module, each array below a last key 'value'"
    is_general = True

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or is_module(tree) or not tree:
            return None
        buffers: dict[tuple[str, ...], KeyPath] = {}
        found = False
        for path, node in _variables(tree):
            if path is None:
                return None
            found = True
            if path[-1] in _buffer_names(node):
                buffers.update(_array_paths((*path, "value"), node[path[-1]]["value"]))
        if not found:
            return None
        return Roles(params=((),), buffers=(Leaves(buffers),) if buffers else ())


def _variables(tree: Mapping[Any, Any]) -> Iterator[tuple[KeyPath | None, Mapping[Any, Any]]]:
    """Yield (path, module) of every variable, or None where something stands that is none."""
    stack: list[tuple[KeyPath, Mapping[Any, Any]]] = [((), tree)]
    while stack:
        prefix, module = stack.pop()
        inner = []
        for key, child in children(module) or []:
            if not isinstance(child, Mapping) or not isinstance(key, (str, int)):
                yield None, module
                return
            if list(child) == ["value"] and _is_value(child["value"]):
                yield (*prefix, key), module
            else:
                inner.append(((*prefix, key), child))
        stack.extend(reversed(inner))


def _is_value(node: Any) -> bool:
    return isinstance(node, LazyArray) or is_random_key(node)


def _buffer_names(module: Mapping[Any, Any]) -> frozenset[str]:
    if {"mean", "var"} <= module.keys() and ({"scale", "bias"} & module.keys() or len(module) == 2):
        return frozenset({"mean", "var"})
    if module.keys() == {"count", "key"}:
        return frozenset({"count", "key"})
    return frozenset()


def _array_paths(path: KeyPath, node: Any) -> dict[tuple[str, ...], KeyPath]:
    """The arrays of one variable under the names that the neutral view gives them."""
    names = tuple(str(int(key)) if isinstance(key, Index) else str(key) for key in path[:-1])
    return {names: path} if isinstance(node, LazyArray) else {(*names, "data"): (*path, "data")}


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
                beside = claim_by_spelling({name: item for name, item in tree.items() if name != key})
                roles = merged(below(inner, (key,)), dataclasses.replace(beside, params=()))
                return dataclasses.replace(roles, rows={(): self.name, (key,): row.name, **roles.rows})
        return None


_STATES: Final = ("default", "state", "pytree", "train_state", "checkpoint")
