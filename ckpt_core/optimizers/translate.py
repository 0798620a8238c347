"""A state of one framework's conventions as one of the other's: a pure function on neutral states."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ckpt_core.errors import UnsupportedError, UsageError
from ckpt_core.families import Family, Part
from ckpt_core.keypath import split_name
from ckpt_core.optimizers.checking import check_known, check_movable, check_order, check_slots, check_told
from ckpt_core.optimizers.grouping import FROZEN, home_of, settings_of, settled
from ckpt_core.optimizers.leaving import chain_notes, frozen_note, left_behind
from ckpt_core.optimizers.read import identified
from ckpt_core.optimizers.state import OptimizerState
from ckpt_core.optimizers.table import family_of, known_kinds
from ckpt_core.view import nest

__all__ = ["translate_optimizer", "translated"]


def translate_optimizer(
    state: OptimizerState,
    to: str,
    *,
    kind: str | None = None,
    hyperparams: Mapping[str, Any] | None = None,
    step: int | None = None,
) -> OptimizerState:
    """Return an optimizer's state in the conventions of another framework.

    Arguments:
        state: a state whose parameters are named.
        to: "torch" or "optax" ("flax" and "nnx" mean optax).
        kind: the rule that wrote it, where the state allows several.
        hyperparams: hyperparameters in the names of the framework that wrote it, which override what it says. An
            optax state holds none unless they were injected: its learning rate must be given.
        step: the number of updates, for rules that keep none (torch's SGD).

    Returns:
        The state as the other framework's rule of the same update continues it: slots, hyperparameters, groups and
        step; `notes` names conditions, defaults that were taken, and what has no place on the other side.

    Raises:
        UsageError: the rule or the learning rate is not known, or the parameters are not named.
        UnsupportedError: the other framework has no such rule; says why, and what to use instead.

    Example:
        >>> from ckpt_core.optimizers import read_optimizer
        >>> saved = {"state": {}, "param_groups": [{"lr": 0.1, "momentum": 0.9, "nesterov": True, "dampening": 0,
        ...     "weight_decay": 0, "params": [0], "param_names": ["w"]}]}
        >>> translate_optimizer(read_optimizer(saved), "optax").hyperparams["momentum"]
        0.9
    """
    made = translated(state, to, kind=kind, hyperparams=hyperparams, step=step)
    check_told(made)
    return settled(made)


def translated(
    state: OptimizerState,
    to: str,
    *,
    kind: str | None = None,
    hyperparams: Mapping[str, Any] | None = None,
    step: int | None = None,
) -> OptimizerState:
    """Translate a state, its groups with what the translation says alone: `settled` completes them.

    Between the two its parameters may get the names of another model. Arguments and errors are those of
    `translate_optimizer`.
    """
    target = "optax" if to in ("optax", "flax", "nnx", "jax") else to
    if target not in ("torch", "optax"):
        raise UsageError(f"no optimizer states of {to!r} are known", remedy="There are torch and optax.")
    state = identified(state, kind=kind, hyperparams=hyperparams)
    if step is not None:
        state = dataclasses.replace(state, step=step, steps={})
    check_known(state)
    if state.framework == target:
        check_movable(state)
        family = _family(state.kind[0], target, state.hyperparams)
        check_slots(state.slots, state.kind[0], family, state)
        made = state if target == "torch" else _completed(state)
        return dataclasses.replace(made, notes=(*made.notes, *left_behind(state, target)))
    check_order(state)
    parts = [*_parts(state)]
    notes = [*_common_notes(state, hyperparams)]
    is_described = any("kind" in group for group in state.groups)
    if target == "torch" and state.native is not None and not is_described:
        notes += chain_notes(state.native, [(p.own_label, p.told) for p in parts if p.told is not None])
    return _assembled(parts, dataclasses.replace(state, notes=(*state.notes, *notes)), target)


def _common_notes(state: OptimizerState, hyperparams: Mapping[str, Any] | None) -> Iterator[str]:
    moving = [str(group.get("label")) for group in state.groups if group["params"]]
    if hyperparams and len(moving) > 1 and state.framework == "optax":
        yield f"{', '.join(hyperparams)}: as given, for every group ({', '.join(moving)})"


def _completed(state: OptimizerState) -> OptimizerState:
    """An optax state with all of the hyperparameters that its constructor takes."""
    notes = list(state.notes)
    groups = []
    slots = state.flat_slots()
    for group in state.groups or (
        {"params": tuple(dict.fromkeys(name for slot in slots.values() for name in slot))},
    ):
        if group.get("kind", group.get("label")) == FROZEN:
            groups.append({**group, "kind": FROZEN})
            continue
        kind = str(group.get("kind", state.kind[0]))
        settings = {**state.hyperparams, **settings_of(group)}
        part = Part(kind, settings, _chosen(slots, group["params"]), state.step)
        made = _family(kind, "optax", settings).complete(part)
        notes += made.notes
        groups.append({**group, **made.hyperparams, "kind": kind})
    first = next((settings_of(group) for group in groups if group["kind"] != FROZEN), {})
    return dataclasses.replace(
        state, groups=tuple(groups), hyperparams=first, notes=tuple(dict.fromkeys(notes))
    )


def _family(kind: str, framework: str, settings: Mapping[str, Any]) -> Family:
    family = family_of(kind, framework, settings)
    if family is None:
        raise UnsupportedError(
            f"no translation of {framework}'s {kind} is known",
            remedy=f"Known are: {', '.join(known_kinds(framework))}.",
        )
    return family


class _Translated(NamedTuple):
    """A part on the other side, or None where it is not updated.

    Arguments:
        part: the part.
        members: its parameters.
        label: what its group is called on the other side.
        group: the number of its group in the state.
        own_label: the label of its group in the state, or "".
        told: of optax's rules, the part as it was, with all of its hyperparameters.
    """

    part: Part | None
    members: tuple[str, ...]
    label: str
    group: int
    own_label: str = ""
    told: Part | None = None


def _parts(state: OptimizerState) -> Iterator[_Translated]:
    """The groups, divided further where parameters were updated a different number of times."""
    slots = state.flat_slots()
    held = {name for slot in slots.values() for name in slot}
    # Adagrad's state is there before any gradient.
    held -= {name for name, step in state.steps.items() if not step}
    is_torch = state.framework == "torch"
    # A rule without slots, or before its first step, does not tell who is updated; optax's groups say it themselves.
    tells = bool(held) and is_torch
    home = state.home.kind if state.home is not None and state.home.framework != state.framework else ""
    frozen: list[str] = []
    everybody = tuple(dict.fromkeys(name for arrays in slots.values() for name in arrays))
    groups = state.groups or ({**state.hyperparams, "params": everybody},)
    for i, group in enumerate(groups):
        if group.get("kind", group.get("label")) == FROZEN:
            continue
        settings = settings_of(group) if is_torch else {**state.hyperparams, **settings_of(group)}
        rule = str(group.get("kind", state.kind[0]))
        family = _family(rule, state.framework, settings)
        names = [name for name in group["params"] if name in held or not tells]
        frozen += [name for name in group["params"] if name not in names]
        step_of = {name: state.steps.get(name, state.step) for name in names}
        steps = sorted(set(step_of.values()), key=lambda step: step or 0) or [state.step]
        for step in steps:
            members = tuple(name for name in names if step_of[name] == step)
            part = Part(rule, settings, _chosen(slots, members), step, (), home, state.schedule is not None)
            moved = family.to_optax(part) if is_torch else family.to_torch(part)
            check_slots(part.slots, rule, family, state)
            label = str(group.get("label", f"group_{i}"))
            yield _Translated(
                moved,
                members,
                label if len(steps) == 1 else f"{label}_step_{step}",
                i,
                str(group.get("label", "")),
                None if is_torch else family.complete(part),
            )
    if frozen:
        yield _Translated(None, tuple(frozen), FROZEN, len(groups))


def _chosen(slots: Mapping[str, Mapping[str, Any]], members: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    found = {
        slot: {name: arrays[name] for name in members if name in arrays} for slot, arrays in slots.items()
    }
    return {slot: arrays for slot, arrays in found.items() if arrays}


def _assembled(parts: list[_Translated], state: OptimizerState, framework: str) -> OptimizerState:
    slots: dict[str, list[Any]] = {}
    notes: list[str] = list(state.notes)
    steps: dict[str, int] = {}
    for part, members, *_ in parts:
        if part is None:
            notes.append(frozen_note(members))
            continue
        for slot, arrays in part.slots.items():
            slots.setdefault(slot, []).extend((split_name(name), array) for name, array in arrays.items())
        notes += part.notes
        steps.update(dict.fromkeys(members, part.step or 0))
    kinds = tuple(dict.fromkeys(part.kind for part, *_ in parts if part is not None))
    if framework == "torch" and len(kinds) > 1:
        raise UnsupportedError(f"a torch optimizer has one rule, and this state has {', '.join(kinds)}")
    groups = _torch_groups(parts) if framework == "torch" else _optax_groups(parts)
    first = next((group for group in groups if group.get("kind") != FROZEN), {})
    return OptimizerState(
        kinds[:1],
        settings_of(first),
        state.step,
        {name: nest(pairs) for name, pairs in slots.items()},
        groups,
        state.schedule,
        None,
        framework,
        steps if len(set(steps.values())) > 1 else {},
        {},
        tuple(dict.fromkeys([*notes, *left_behind(state, framework)])),
        home_of(state) if state.home is None or state.home.framework == state.framework else state.home,
    )


def _optax_groups(parts: list[_Translated]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"kind": FROZEN, "params": members, "label": label}
        if part is None
        else {"kind": part.kind, "label": label, **part.hyperparams, "params": members}
        for part, members, label, *_ in parts
    )


def _torch_groups(parts: list[_Translated]) -> tuple[dict[str, Any], ...]:
    """The groups; the parts of one, which optax counts apart, are one again."""
    groups: dict[int, dict[str, Any]] = {}
    for part, members, _, number, *_ in parts:
        if part is not None:
            before = groups.get(number, {"params": ()})
            groups[number] = {**part.hyperparams, "params": (*before["params"], *members)}
    return tuple(groups.values())
