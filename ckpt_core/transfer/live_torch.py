"""A live torch optimizer: what it tells of an optax state, which holds no hyperparameters, and what it is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import to_numpy
from ckpt_core.errors import CheckpointError, UnsupportedError, UsageError
from ckpt_core.families import Call, Family, Part
from ckpt_core.framework import Template
from ckpt_core.keypath import split_name
from ckpt_core.layouts.values import numbers
from ckpt_core.optimizers import OptimizerState
from ckpt_core.optimizers.grouping import settings_of
from ckpt_core.optimizers.table import family_of, torch_rule
from ckpt_core.view import nest

__all__ = ["LiveTorch", "told_by", "with_first_state"]

_AROUND: Final = ("weight_decay", "maximize")
"""What a chain puts around any rule."""


@dataclasses.dataclass(frozen=True)
class LiveTorch:
    """A live torch optimizer.

    Arguments:
        kind: its rule by lower-case name, or "".
        names: the names of its parameters, by group.
        settings: the hyperparameters of each group.
    """

    kind: str
    names: tuple[tuple[str, ...], ...]
    settings: tuple[Mapping[str, Any], ...]


def told_by(live: LiveTorch, state: OptimizerState) -> OptimizerState:
    """Return an optax state in the groups of the torch optimizer that goes on with it, under its hyperparameters.

    Arguments:
        live: the optimizer.
        state: the state, under the names of the optimizer's own parameters.

    Raises:
        UsageError: the state can be of several rules that the optimizer goes on with.
        UnsupportedError: the optimizer goes on with none that the state can be of.
    """
    kinds: dict[str, None] = {}
    groups = []
    slots = state.flat_slots()
    kept = {key: value for key, value in state.hyperparams.items() if key == "trace_is_scaled"}
    for names, settings in zip(live.names, live.settings, strict=True):
        family = family_of(live.kind, "torch", settings)
        if family is None:
            return state
        mine = {
            slot: {n: array for n, array in arrays.items() if n in names} for slot, arrays in slots.items()
        }
        part = Part(
            live.kind, settings, {slot: arrays for slot, arrays in mine.items() if arrays}, state.step
        )
        told = _as_optax(part, family, state.kind)
        kinds[told.kind] = None
        groups.append({**told.hyperparams, **kept, "params": names})
    hyperparams = {**settings_of(groups[0]), **kept} if groups else {}
    return dataclasses.replace(state, kind=tuple(kinds), hyperparams=hyperparams, groups=tuple(groups))


def _as_optax(part: Part, family: Family, kinds: tuple[str, ...]) -> Part:
    """A group of a torch optimizer as the rule of optax, out of these, that it goes on with."""
    told = family.to_optax(part)
    if told.kind in kinds and not told.kind.startswith("torch_"):
        return told
    fits = [told] if told.kind in kinds else []
    for rule in family.optax:
        if rule.kind in kinds and rule.kind != told.kind:
            same = {
                key: told.hyperparams[key] for key in (*rule.defaults, *_AROUND) if key in told.hyperparams
            }
            other = dataclasses.replace(part, kind=rule.kind, hyperparams={**rule.defaults, **same})
            fits += [other] if _goes_on(other, family, part) else []
    if len(fits) > 1:
        raise UsageError(
            f"the optimizer state can be of {' or '.join(fit.kind for fit in fits)}, and torch's {part.kind} goes on with each",
            remedy="Name the one that the run used: kind='...' (--optimizer-kind).",
        )
    if not fits:
        raise UnsupportedError(
            f"the optimizer is torch's {part.kind}, as it continues optax's {told.kind}, and the state is of {' or '.join(kinds) or 'no known rule'}",
            remedy="suggest_optimizer(state) gives one that does.",
        )
    return fits[0]


def _goes_on(other: Part, family: Family, part: Part) -> bool:
    """Whether a rule of optax becomes this rule of torch, under the same settings."""
    try:
        made = family.to_torch(other)
    except CheckpointError:
        return False
    known = {key: numbers(value) for key, value in part.hyperparams.items()}
    return made.kind == part.kind and all(known.get(k, v) == numbers(v) for k, v in made.hyperparams.items())


def with_first_state(state: OptimizerState, template: Template) -> OptimizerState:
    """Return a torch state with what a rule keeps for a parameter before its first gradient (Adagrad's sums).

    Arguments:
        state: a state in its groups.
        template: what the model expects, for the shapes.
    """
    rule = torch_rule(state.kind[0], state.hyperparams)
    family = family_of(state.kind[0], "torch", state.hyperparams)
    if rule is None or family is None or not rule.is_eager:
        return state
    specs = {slot.name: slot.spec for slot in template.slots}
    slots = state.flat_slots()
    steps = dict(state.steps)
    for neutral in rule.slots.values():
        held = slots.setdefault(neutral, {})
        steps = {**dict.fromkeys(held, state.step or 0), **steps}
        for group in state.groups:
            for name in group["params"]:
                if name not in held and name in specs:
                    zeros = LazyArray.from_numpy(np.zeros(specs[name].shape, to_numpy(specs[name].dtype)))
                    held[name] = family.initial(neutral, zeros, Call("", (), settings_of(group)))
                    steps[name] = 0
    nested = {slot: nest((split_name(n), a) for n, a in arrays.items()) for slot, arrays in slots.items()}
    return dataclasses.replace(state, slots=nested, steps=steps)
