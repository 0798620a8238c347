"""The layouts that come with ckpt_core, from the most telling to the least."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.layouts.base import Layout, Parts, Roles
from ckpt_core.layouts.spelling import COLLECTIONS, claim_by_spelling, claim_by_value, is_spelled
from ckpt_core.layouts.values import (
    has_array,
    has_value,
    is_module,
    is_optimizer,
    is_plain,
    is_scripted,
    is_state_dict,
    is_weights,
)
from ckpt_core.tree import KeyPath, flatten

__all__ = [
    "BUILTIN",
    "Items",
    "ModuleLayout",
    "OptimizerAlone",
    "StateDict",
    "StateMetadata",
    "TrainState",
    "TrainingDict",
    "Variables",
]


class StateMetadata(Layout):
    """`{'state': {'params', 'opt_state', 'step'}, 'metadata': {'epoch', 'config'}, 'timestamp'}`."""

    name = "state_metadata"
    describes = "a state beside its metadata: state/params, metadata/epoch"

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or not isinstance(tree.get("state"), Mapping):
            return None
        if not is_weights(tree["state"].get("params")):
            return None
        outer = claim_by_spelling({k: v for k, v in tree.items() if k not in ("state", "metadata")})
        inner = claim_by_spelling(tree["state"], ("state",))
        described = Roles()
        if isinstance(tree.get("metadata"), Mapping):
            described = claim_by_spelling(tree["metadata"], ("metadata",))
        return _merged(inner, described, outer)

    def build(self, parts: Parts) -> tuple[Any, tuple[str, ...]]:
        state = _present(
            params=parts.params, batch_stats=parts.buffers, opt_state=_only(parts.opt_states), step=parts.step
        )
        metadata = _present(epoch=parts.epoch, config=parts.config, metrics=parts.metrics or None)
        tree = _present(state=state, metadata=metadata, timestamp=parts.timestamp)
        return tree, _without(parts, "params buffers opt_states step epoch config metrics timestamp")


class TrainState(Layout):
    """A Flax TrainState, or a dict with its fields: params, opt_state, step."""

    name = "train_state"
    describes = "a Flax TrainState: params, opt_state, step"

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or not is_weights(tree.get("params")):
            return None
        if not any(key in tree for key in ("opt_state", "step", "tx")):
            return None
        return claim_by_spelling(tree)

    def build(self, parts: Parts) -> tuple[Any, tuple[str, ...]]:
        tree = _present(
            step=parts.step, params=parts.params, batch_stats=parts.buffers, opt_state=_only(parts.opt_states)
        )
        return tree, _without(parts, "params buffers opt_states step")


class TrainingDict(Layout):
    """`{'epoch', 'model_state_dict', 'optimizer_state_dict', metrics, 'args', ...}` in its many spellings."""

    name = "training_dict"
    describes = "a dict of a training run: model_state_dict, optimizer_state_dict, epoch, metrics, args"

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or is_module(tree) or is_state_dict(tree):
            return None
        described = _described(tree)
        roles = claim_by_spelling({key: value for key, value in tree.items() if key not in described})
        if described:
            below = [claim_by_spelling(value, (key,)) for key, value in described.items()]
            roles = _merged(roles, *below)
        by_value = () if roles.params else claim_by_value(tree, roles)
        if by_value:
            keys = ", ".join(str(path[0]) for path in by_value)
            return dataclasses.replace(
                roles, params=by_value, notes=(f"weights told by their values, not by their keys: {keys}",)
            )
        if not roles.params and roles.ema:  # some trainers save the averaged weights alone
            (first, path), *rest = roles.ema.items()
            note = f"the only weights are averaged ones, under {first!r}"
            return dataclasses.replace(roles, params=(path,), ema=dict(rest), notes=(note,))
        return roles if roles.params else None

    def build(self, parts: Parts) -> tuple[Any, tuple[str, ...]]:
        weights = joined_names(parts.params, parts.buffers)
        tree = _present(
            epoch=parts.epoch,
            step=parts.step,
            model_state_dict=weights,
            optimizer_state_dict=_only(parts.opt_states),
            scheduler_state_dict=_only(parts.schedulers),
            scaler=parts.scaler,
            config=parts.config,
            timestamp=parts.timestamp,
        )
        names = "params buffers opt_states schedulers scaler step epoch config metrics timestamp"
        return {**tree, **parts.metrics}, _without(parts, names)


class Variables(Layout):
    """Flax variables: `{'params': ..., 'batch_stats': ...}`."""

    name = "variables"
    describes = "Flax variables: params, and collections such as batch_stats"

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or not is_weights(tree.get("params")):
            return None
        others = [key for key in tree if key != "params"]
        if not all(key in COLLECTIONS for key in others):
            return None
        return Roles(params=(("params",),), buffers=tuple((key,) for key in others))

    def build(self, parts: Parts) -> tuple[Any, tuple[str, ...]]:
        return _present(params=parts.params, batch_stats=parts.buffers), _without(parts, "params buffers")


class ModuleLayout(Layout):
    """A whole pickled torch module, or a TorchScript program's."""

    name = "module"
    describes = "a whole torch module, pickled or in TorchScript"

    def recognise(self, tree: Any) -> Roles | None:
        return Roles(params=((),)) if is_module(tree) or is_scripted(tree) else None


class OptimizerAlone(Layout):
    """An optimizer's state dict, saved in a file of its own."""

    name = "optimizer"
    describes = "a torch optimizer's state dict alone"

    def recognise(self, tree: Any) -> Roles | None:
        return Roles(opt_states={"optimizer": ()}) if is_optimizer(tree) else None


class StateDict(Layout):
    """Weights alone: a flat torch state dict, or a nested tree of arrays."""

    name = "state_dict"
    describes = "weights alone, by name"

    def recognise(self, tree: Any) -> Roles | None:
        if is_state_dict(tree):
            return Roles(params=((),))
        return Roles(params=((),)) if _is_weights_alone(tree) else None

    def build(self, parts: Parts) -> tuple[Any, tuple[str, ...]]:
        return joined_names(parts.params, parts.buffers), _without(parts, "params buffers")


class Items(Layout):
    """One state among other items: `{'default': ..., 'metrics': ...}`, a step of a CheckpointManager."""

    name = "items"
    describes = "one state beside other items: default or state, and metrics"

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or is_module(tree) or is_state_dict(tree):
            return None
        states = [key for key, value in tree.items() if key in _ITEMS and is_weights(value)]
        if len(states) != 1:
            return None
        (key,) = states
        for row in BUILTIN:
            inner = row.recognise(tree[key])
            if inner is not None:
                beside = claim_by_spelling({name: item for name, item in tree.items() if name != key})
                return _merged(_below(inner, key), dataclasses.replace(beside, params=()))
        return None


_ITEMS: Final = ("default", "state", "pytree", "train_state", "checkpoint")


def _below(roles: Roles, key: str) -> Roles:
    """The same roles in a tree that stands under a key of another."""
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(Roles):
        value = getattr(roles, field.name)
        if field.name == "notes" or value is None:
            fields[field.name] = value
        elif field.name in {"params", "buffers"}:
            fields[field.name] = tuple((key, *path) for path in value)
        elif isinstance(value, Mapping):
            fields[field.name] = {name: (key, *path) for name, path in value.items()}
        else:
            fields[field.name] = (key, *value)
    return Roles(**fields)


def _is_weights_alone(tree: Any) -> bool:
    """Say whether it is a model's nested weights: arrays under names of its own, and no value beside them."""
    if not isinstance(tree, Mapping) or not has_array(tree) or not all(isinstance(key, str) for key in tree):
        return False
    if any(is_spelled(key, value) for key, value in tree.items()):
        return False
    return not has_value(tree)


_DESCRIBING: Final = ("metadata", "meta")


def _described(tree: Mapping[Any, Any]) -> dict[str, Mapping[Any, Any]]:
    """The entries that describe the others: dicts of plain values such as epoch and config."""
    found = {key: tree[key] for key in _DESCRIBING if isinstance(tree.get(key), Mapping)}
    return {key: value for key, value in found.items() if not has_array(value) or is_plain(value)}


def joined_names(*trees: Any) -> dict[str, Any]:
    """Return nested trees as one flat mapping, names joined by dots (torch's own form)."""
    table: dict[str, Any] = {}
    for tree in trees:
        if tree:
            table.update({".".join(map(str, path)): leaf for path, leaf in flatten(tree)})
    return table


BUILTIN: Final[tuple[Layout, ...]] = (
    ModuleLayout(),
    OptimizerAlone(),
    StateMetadata(),
    TrainState(),
    Variables(),
    Items(),
    StateDict(),
    TrainingDict(),
)


def _merged(*all_roles: Roles) -> Roles:
    """Combine roles found in several parts of a tree; for a role of one path the first one counts."""
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(Roles):
        values = [getattr(roles, field.name) for roles in all_roles]
        if field.name == "params":
            fields[field.name] = values[0]
        elif field.name in ("buffers", "notes"):
            fields[field.name] = tuple(item for value in values for item in value)
        elif isinstance(values[0], Mapping):
            merged: dict[str, KeyPath] = {}
            for value in reversed(values):
                merged.update(value)
            fields[field.name] = merged
        else:
            fields[field.name] = next((value for value in values if value is not None), None)
    return Roles(**fields)


def _present(**entries: Any) -> dict[str, Any]:
    return {key: value for key, value in entries.items() if value is not None and value != {}}


def _only(named: Mapping[str, Any]) -> Any:
    return next(iter(named.values())) if len(named) == 1 else (dict(named) or None)


def _without(parts: Parts, names: str) -> tuple[str, ...]:
    """The parts that are there and that a layout with places for `names` has no place for."""
    kept = set(names.split())
    return tuple(
        field.name
        for field in dataclasses.fields(Parts)
        if field.name not in kept and getattr(parts, field.name) not in (None, {}, ())
    )
