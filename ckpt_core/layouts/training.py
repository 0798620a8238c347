"""Dicts that training scripts write by hand: the state of a run under names of the author's choice."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.layouts.base import Layout, Parts, Roles, merged
from ckpt_core.layouts.parts import joined_names, only, present, without
from ckpt_core.layouts.spelling import claim_by_spelling, claim_by_value
from ckpt_core.layouts.values import has_array, is_module, is_plain, is_state_dict, is_weights

__all__ = ["StateMetadata", "TrainingDict"]


class StateMetadata(Layout):
    """`{'state': {'params', 'opt_state', 'step'}, 'metadata': {'epoch', 'config'}, 'timestamp'}`."""

    name = "state_metadata"
    describes = "a state beside its metadata: state/params, metadata/epoch"
    is_general = True

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
        return merged(inner, described, outer)

    def build(self, parts: Parts) -> tuple[Any, tuple[str, ...]]:
        state = present(
            params=parts.params, batch_stats=parts.buffers, opt_state=only(parts.opt_states), step=parts.step
        )
        metadata = present(epoch=parts.epoch, config=parts.config, metrics=parts.metrics or None)
        tree = present(state=state, metadata=metadata, timestamp=parts.timestamp)
        return tree, without(parts, "params buffers opt_states step epoch config metrics timestamp")


class TrainingDict(Layout):
    """`{'epoch', 'model_state_dict', 'optimizer_state_dict', metrics, 'args', ...}` in its many spellings."""

    name = "training_dict"
    describes = "a dict of a training run: model_state_dict, optimizer_state_dict, epoch, metrics, args"
    is_general = True

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or is_module(tree) or is_state_dict(tree):
            return None
        described = _described(tree)
        roles = claim_by_spelling({key: value for key, value in tree.items() if key not in described})
        if described:
            inner = [claim_by_spelling(value, (key,)) for key, value in described.items()]
            roles = merged(roles, *inner)
        if roles.params:
            return _noting_others(tree, roles)
        by_value = claim_by_value(tree, roles)
        if by_value:
            keys = ", ".join(str(path[0]) for path in by_value)
            note = f"weights told by their values, not by their keys: {keys}"
            return dataclasses.replace(roles, params=by_value, notes=(note,))
        if roles.ema:
            return averaged_alone(roles)
        if roles.opt_states:
            return dataclasses.replace(roles, notes=("there are no weights in it",))
        return None

    def build(self, parts: Parts) -> tuple[Any, tuple[str, ...]]:
        weights = joined_names(parts.params, parts.buffers)
        tree = present(
            epoch=parts.epoch,
            step=parts.step,
            model_state_dict=weights,
            optimizer_state_dict=only(parts.opt_states),
            scheduler_state_dict=only(parts.schedulers),
            scaler=parts.scaler,
            config=parts.config,
            timestamp=parts.timestamp,
        )
        names = "params buffers opt_states schedulers scaler step epoch config metrics timestamp"
        return {**tree, **parts.metrics}, without(parts, names)


def _noting_others(tree: Mapping[Any, Any], roles: Roles) -> Roles:
    """Say which entries look like weights too, and are under no key that says so."""
    others = [str(place[0]) for place in claim_by_value(tree, roles) if place not in roles.params]
    if not others:
        return roles
    note = f"arrays beside the model's, under keys that say nothing: {', '.join(others)}"
    return dataclasses.replace(roles, notes=(*roles.notes, note))


def averaged_alone(roles: Roles) -> Roles:
    """Return the roles of a tree whose only weights are averaged: some trainers save nothing else."""
    (name, place), *rest = roles.ema.items()
    note = f"the only weights are averaged ones, under {name!r}"
    return dataclasses.replace(
        roles, params=(place,), ema=dict(rest), weights=name, notes=(*roles.notes, note)
    )


_DESCRIBING: Final = ("metadata", "meta")


def _described(tree: Mapping[Any, Any]) -> dict[str, Mapping[Any, Any]]:
    """The entries that describe the others: dicts of plain values such as epoch and config."""
    found = {key: tree[key] for key in _DESCRIBING if isinstance(tree.get(key), Mapping)}
    return {key: value for key, value in found.items() if not has_array(value) or is_plain(value)}
