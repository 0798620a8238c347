"""A state of one framework's conventions as one of the other's: a pure function on neutral states."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ckpt_core.errors import UnsupportedError, UsageError
from ckpt_core.families import Family, Part
from ckpt_core.keypath import split_name
from ckpt_core.optimizers.grouping import FROZEN, home_of, settings_of, settled
from ckpt_core.optimizers.optax_members import count_of
from ckpt_core.optimizers.optax_state import BARE, MASKED, WRAPPED
from ckpt_core.optimizers.read import identified
from ckpt_core.optimizers.state import OptimizerState
from ckpt_core.optimizers.table import family_of, known_kinds, torch_rule
from ckpt_core.view import nest

__all__ = ["check_told", "translate_optimizer", "translated"]


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
    _check(state)
    if state.framework == target:
        return state
    return _assembled([*_parts(state)], state, target)


def _check(state: OptimizerState) -> None:
    if len(state.kind) != 1:
        if not state.kind:
            raise UnsupportedError(
                "the optimizer state is of no known rule, or of several at once",
                remedy=f"kind= names the rule. Known are: {', '.join(known_kinds(state.framework))}.",
            )
        raise UsageError(
            f"the optimizer state fits {len(state.kind)} rules: {', '.join(state.kind)}",
            remedy="Name the one that the run used: kind='...' (--optimizer-kind).",
        )
    if WRAPPED in state.notes:
        raise UnsupportedError(
            f"{WRAPPED}, which the other framework does not have",
            remedy="Transfer the weights alone, and start the optimizer anew.",
        )
    if not state.is_named:
        raise UsageError(
            next(iter(state.notes), "the optimizer's parameters are known by position only"),
            remedy="Give their names in the order of the groups (parameter_names=, --parameter-names), or save with optimizers built by named_parameters().",
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
    """A part on the other side (None: not updated), its parameters, its label, and the number of its group."""

    part: Part | None
    members: tuple[str, ...]
    label: str
    group: int


def _parts(state: OptimizerState) -> Iterator[_Translated]:
    """The groups, divided further where parameters were updated a different number of times."""
    slots = state.flat_slots()
    held = {name for slot in slots.values() for name in slot}
    # A rule without slots, or before its first step, does not tell who is updated; optax's groups say it themselves.
    tells = bool(held) and state.framework == "torch"
    home = state.home.kind if state.home is not None and state.home.framework != state.framework else ""
    frozen: list[str] = []
    everybody = tuple(dict.fromkeys(name for arrays in slots.values() for name in arrays))
    groups = state.groups or ({**state.hyperparams, "params": everybody},)
    for i, group in enumerate(groups):
        if group.get("kind", group.get("label")) == FROZEN:
            continue
        settings = (
            {**state.hyperparams, **settings_of(group)} if state.framework == "optax" else settings_of(group)
        )
        rule = str(group.get("kind", state.kind[0]))
        family = _family(rule, state.framework, settings)
        names = [name for name in group["params"] if name in held or not tells]
        frozen += [name for name in group["params"] if name not in names]
        step_of = {name: state.steps.get(name, state.step) for name in names}
        steps = sorted(set(step_of.values()), key=lambda step: step or 0) or [state.step]
        for step in steps:
            members = tuple(name for name in names if step_of[name] == step)
            part = Part(rule, settings, _chosen(slots, members), step, (), home)
            moved = family.to_optax(part) if state.framework == "torch" else family.to_torch(part)
            _check_slots(part, family, state)
            label = str(group.get("label", f"group_{i}"))
            yield _Translated(moved, members, label if len(steps) == 1 else f"{label}_step_{step}", i)
    if frozen:
        yield _Translated(None, tuple(frozen), FROZEN, len(groups))


def _check_slots(part: Part, family: Family, state: OptimizerState) -> None:
    """Refuse a state that keeps something else than the rule that it is said to be of."""
    kept = {neutral for rule in family.torch for neutral in rule.slots.values()}
    kept |= {
        keeps.neutral.get(field, field)
        for rule in family.optax
        for keeps in rule.keeps
        for field in keeps.fields
    }
    if set(part.slots) - kept:
        raise UnsupportedError(
            f"the state keeps {', '.join(sorted(set(part.slots) - kept))}, which {state.framework}'s {part.kind} does not",
            remedy="The run used another rule, or several: kind= names one.",
        )
    needs_slots = state.framework == "optax" and family.optax_rule(part.kind).always_keeps
    if needs_slots and not state.slots:
        raise UnsupportedError(
            f"the state keeps nothing that optax's {part.kind} keeps",
            remedy="The run used another rule: kind= names it.",
        )


def _chosen(slots: Mapping[str, Mapping[str, Any]], members: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    found = {
        slot: {name: arrays[name] for name in members if name in arrays} for slot, arrays in slots.items()
    }
    return {slot: arrays for slot, arrays in found.items() if arrays}


def _assembled(parts: list[_Translated], state: OptimizerState, framework: str) -> OptimizerState:
    slots: dict[str, list[Any]] = {}
    notes: list[str] = list(state.notes)
    steps: dict[str, int] = {}
    for part, members, _, _ in parts:
        if part is None:
            notes.append(_frozen_note(members))
            continue
        for slot, arrays in part.slots.items():
            slots.setdefault(slot, []).extend((split_name(name), array) for name, array in arrays.items())
        notes += part.notes
        steps.update(dict.fromkeys(members, part.step or 0))
    kinds = tuple(dict.fromkeys(part.kind for part, _, _, _ in parts if part is not None))
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
        tuple(dict.fromkeys([*notes, *_left(state)])),
        home_of(state) if state.home is None or state.home.framework == state.framework else state.home,
    )


def _optax_groups(parts: list[_Translated]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"kind": FROZEN, "params": members, "label": label}
        if part is None
        else {"kind": part.kind, "label": label, **part.hyperparams, "params": members}
        for part, members, label, _ in parts
    )


def _torch_groups(parts: list[_Translated]) -> tuple[dict[str, Any], ...]:
    """The groups; the parts of one, which optax counts apart, are one again."""
    groups: dict[int, dict[str, Any]] = {}
    for part, members, _, number in parts:
        if part is not None:
            before = groups.get(number, {"params": ()})
            groups[number] = {**part.hyperparams, "params": (*before["params"], *members)}
    return tuple(groups.values())


def check_told(state: OptimizerState) -> None:
    """Refuse a translated state whose groups nothing tells: masked weight decay, and rules that keep nothing.

    Raises:
        UsageError: there is such a group; says how to tell.
    """
    remedy = "Pass the torch optimizer with its groups (optimizer=)"
    if MASKED in state.notes and len(state.groups) == 1 and state.groups[0].get("weight_decay"):
        decay = state.groups[0]["weight_decay"]
        raise UsageError(f"{MASKED}; its weight decay is {decay!r}", remedy=f"{remedy}, or weight_decay=0.")
    bare = next((note for note in state.notes if note.startswith(BARE)), None)
    if bare is not None and not all(group["params"] for group in state.groups):
        raise UsageError(bare, remedy=f"{remedy}.")


def _frozen_note(members: tuple[str, ...]) -> str:
    shown = ", ".join(members[:4]) + (", ..." if len(members) > 4 else "")
    return (
        f"{len(members):,} parameters had no gradient so far, and are not updated on the other side: {shown}"
    )


def _left(state: OptimizerState) -> Iterator[str]:
    """What has no place in the other framework's state."""
    rule = torch_rule(state.kind[0], state.hyperparams) if state.framework == "torch" else None
    if rule is not None and not rule.has_step and not state.step:
        yield f"torch's {state.kind[0]} keeps no step: the count begins at 0 where none is given"
    for path, value in state.other.items():
        name = path.rpartition("/")[2]
        if name == "mini_step":
            done = count_of(value)
            if done:
                yield f"saved after {done} steps of accumulation: the gradients accumulated so far are left behind"
        elif name not in ("acc_grads", "skip_state", "gradient_step", "ns_coeffs", "step"):
            yield f"{path} has no place on the other side"
