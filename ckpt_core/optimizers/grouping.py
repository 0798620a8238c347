"""Parameter groups: as they were where a state came from, and as a live optimizer has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UnsupportedError
from ckpt_core.layouts.values import numbers
from ckpt_core.optimizers.state import Home, OptimizerState
from ckpt_core.optimizers.table import torch_rule

__all__ = ["FROZEN", "NOT_SETTINGS", "home_of", "in_groups", "settings_of", "settled"]

FROZEN: Final = "frozen"
"""The label of parameters that are not updated."""

NOT_SETTINGS: Final = ("params", "label", "kind")
"""What a group has besides its hyperparameters."""


def settings_of(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters of a group."""
    return {key: value for key, value in group.items() if key not in NOT_SETTINGS}


def home_of(state: OptimizerState) -> Home:
    """Return what is to be known of a state for the way back to it."""
    native = state.native if state.framework == "torch" and isinstance(state.native, Mapping) else {}
    saved = [group for group in native.get("param_groups") or () if isinstance(group, Mapping)]
    groups: list[Mapping[str, Any]] = list(state.groups)
    if len(saved) == len(groups):  # settings in the types in which they were saved
        own = [{k: v for k, v in group.items() if k not in ("params", "param_names")} for group in saved]
        groups = [{**mine, "params": group["params"]} for mine, group in zip(own, groups, strict=True)]
    has_names = bool(saved) and "param_names" in saved[0]
    return Home(state.framework, state.kind[0], tuple(groups), has_names, _step_dtype(native.get("state")))


def _step_dtype(entries: Any) -> str:
    """What torch counts in: the dtype of the first step that is an array."""
    for entry in entries.values() if isinstance(entries, Mapping) else ():
        step = entry.get("step") if isinstance(entry, Mapping) else None
        if isinstance(step, LazyArray):
            return step.dtype
    return "float32"


def settled(state: OptimizerState) -> OptimizerState:
    """Return a translated state with its groups complete: as at home where it came from there, else by the defaults.

    Arguments:
        state: a state whose groups hold what its translation says, under the names of the framework's own model.
    """
    home = state.home
    if home is not None and (home.framework, (home.kind,)) == (state.framework, state.kind):
        at_home = _torch_at_home(state, home) if state.framework == "torch" else _labelled(state, home)
        if at_home is not None:
            return at_home
    if state.framework != "torch":
        return state
    return _with_groups(state, [_complete(state.kind[0], group, {}) for group in state.groups])


def _with_groups(state: OptimizerState, groups: Sequence[Mapping[str, Any]]) -> OptimizerState:
    hyperparams = {key: numbers(value) for key, value in settings_of(groups[0]).items()} if groups else {}
    return dataclasses.replace(state, groups=tuple(groups), hyperparams=hyperparams)


def _complete(kind: str, group: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A torch group with what its translation does not say: its own settings of before, else torch's defaults."""
    rule = torch_rule(kind, group)
    defaults = {} if rule is None else rule.defaults
    same = {key: value for key, value in own.items() if key in group and group[key] == numbers(value)}
    return {**defaults, **own, **group, **same}


def _torch_at_home(state: OptimizerState, home: Home) -> OptimizerState | None:
    """The state in the groups that it came from; None where its parameters or settings are no longer theirs."""
    group_of = {name: group for group in state.groups for name in group["params"]}
    own = [name for group in home.groups for name in group["params"]]
    if not group_of.keys() <= set(own):
        return None
    groups = []
    for number, before in enumerate(home.groups):
        found: list[dict[str, Any]] = []
        for name in before["params"]:
            settings = settings_of(group_of[name]) if name in group_of else None
            if settings is not None and settings not in found:
                found.append(settings)
        if len(found) > 1:
            return None
        # a rule that keeps nothing names nobody
        if not found and not group_of and number < len(state.groups):
            found = [settings_of(state.groups[number])]
        settings = found[0] if found else {}
        made = _complete(home.kind, settings, settings_of(before))
        names = (
            {"param_names": [name.replace("/", ".") for name in before["params"]]} if home.has_names else {}
        )
        groups.append({**made, "params": tuple(before["params"]), **names})
    return _with_groups(state, groups)


def _labelled(state: OptimizerState, home: Home) -> OptimizerState | None:
    """The groups with the labels that optax gave them, where they are the same groups."""
    label_of = {frozenset(group["params"]): group.get("label") for group in home.groups}
    labels = [label_of.get(frozenset(group["params"])) for group in state.groups]
    if None in labels or len(set(labels)) < len(labels):
        return None
    groups = [{**group, "label": label} for group, label in zip(state.groups, labels, strict=True)]
    return dataclasses.replace(state, groups=tuple(groups))


def in_groups(
    state: OptimizerState,
    groups: Sequence[Sequence[str]],
    settings: Sequence[Mapping[str, Any]] | None = None,
) -> OptimizerState:
    """Return a state of torch's conventions with the parameters grouped and ordered as a live optimizer has them.

    Arguments:
        state: the state.
        groups: the names of the live optimizer's parameters, by group.
        settings: its hyperparameters by group, where they and not those of the state hold.

    Raises:
        UnsupportedError: a live group has parameters of groups with different hyperparameters, or lacks one that has
            a state.
    """
    group_of = {name: group for group in state.groups for name in group["params"]}
    made = []
    for i, names in enumerate(groups):
        found: list[dict[str, Any]] = []
        for name in names:
            own = settings_of(group_of[name]) if name in group_of else None
            own = None if own is None else {key: value for key, value in own.items() if key != "param_names"}
            if own is not None and own not in found:
                found.append(own)
        if settings is not None:
            found = [dict(settings[i])]
        if len(found) > 1:
            raise UnsupportedError(
                f"group {i} of the optimizer has parameters that the state keeps under different hyperparameters",
                remedy="suggest_optimizer(state) gives an optimizer with the groups of the state.",
            )
        made.append({**(found[0] if found else state.hyperparams), "params": tuple(names)})
    held = {name for slot in state.flat_slots().values() for name in slot}
    lost = sorted((held or set(group_of)) - {name for names in groups for name in names})
    if lost:
        raise UnsupportedError(
            f"the optimizer does not update {', '.join(lost[:4])}, of which there is a state",
            remedy="suggest_optimizer(state) gives an optimizer with the groups of the state.",
        )
    fresh = [name for names in groups for name in names if held and name not in held]
    notes = (
        [f"{len(fresh):,} parameters of the optimizer have no state: {', '.join(fresh[:4])}"] if fresh else []
    )
    return dataclasses.replace(state, groups=tuple(made), notes=(*state.notes, *notes))
