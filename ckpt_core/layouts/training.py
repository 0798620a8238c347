"""Dicts that training scripts write by hand: the state of a run under names of the author's choice."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ckpt_core.layouts.base import Layout, Parts, Roles, merged
from ckpt_core.layouts.parts import joined_names, only, present, without
from ckpt_core.layouts.spelling import claim_by_spelling, claim_by_value, claim_with_descriptions
from ckpt_core.layouts.values import is_module, is_state_dict, is_weights

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
        inner = claim_by_spelling(tree["state"], ("state",))
        outer = claim_with_descriptions({key: value for key, value in tree.items() if key != "state"})
        return merged(inner, outer)

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
        roles = claim_with_descriptions(tree)
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
