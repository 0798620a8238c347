"""A state of one framework's conventions as one of the other's: a pure function on neutral states."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ckpt_core.errors import UnsupportedError, UsageError
from ckpt_core.keypath import split_name
from ckpt_core.optimizers.families import FAMILIES, Family, Part, family_of
from ckpt_core.optimizers.optax_state import count_of
from ckpt_core.optimizers.read import identified
from ckpt_core.optimizers.state import OptimizerState
from ckpt_core.optimizers.torch_state import STEPLESS
from ckpt_core.view import nest

__all__ = ["FROZEN", "translate_optimizer"]

FROZEN: Final = "frozen"
"""The label of parameters that are not updated."""

_NOT_SETTINGS: Final = ("params", "label", "kind", "initial_lr")


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
    target = "optax" if to in ("optax", "flax", "nnx", "jax") else to
    if target not in ("torch", "optax"):
        raise UsageError(f"no optimizer states of {to!r} are known", remedy="There are torch and optax.")
    state = identified(state, kind=kind, hyperparams=hyperparams)
    if step is not None:
        state = dataclasses.replace(state, step=step, steps={})
    _check(state)
    if state.framework == target:
        return state
    if target == "optax":
        return _assembled([*_optax_parts(state)], state, "optax")
    return _assembled([*_torch_parts(state)], state, "torch")


def _check(state: OptimizerState) -> None:
    if len(state.kind) != 1:
        if not state.kind:
            raise UnsupportedError(
                "the optimizer state is of no known rule, or of several at once",
                remedy="kind= names the rule. Known are: " + ", ".join(_known(state.framework)) + ".",
            )
        raise UsageError(
            f"the optimizer state fits {len(state.kind)} rules: {', '.join(state.kind)}",
            remedy="Name the one that the run used: kind='...' (--optimizer-kind).",
        )
    if not state.is_named:
        raise UsageError(
            next(iter(state.notes), "the optimizer's parameters are known by position only"),
            remedy="Give the names in the order of the groups, or save with optimizers built by named_parameters().",
        )


def _known(framework: str) -> list[str]:
    return [
        kind
        for family in FAMILIES
        for kind in (family.torch_kinds if framework == "torch" else family.optax_kinds)
    ]


def _family(kind: str, framework: str, hyperparams: Mapping[str, Any]) -> Family:
    family = family_of("amsgrad" if framework == "torch" and hyperparams.get("amsgrad") else kind, framework)
    if family is None:
        raise UnsupportedError(
            f"no translation of {framework}'s {kind} is known",
            remedy=f"Known are: {', '.join(_known(framework))}.",
        )
    return family


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key not in _NOT_SETTINGS}


Translated = tuple[Part | None, tuple[str, ...], str]
"""A translated part (None: not updated), its parameters, and its label."""


def _optax_parts(state: OptimizerState) -> Iterator[Translated]:
    """torch's groups, divided further where parameters were updated a different number of times."""
    kind = state.kind[0]
    slots = state.flat_slots()
    held = {name for slot in slots.values() for name in slot}
    tells = bool(held)  # a rule without slots, or before its first step, does not tell who is updated
    frozen: list[str] = []
    for i, group in enumerate(state.groups):
        family = _family(kind, "torch", group)
        names = [name for name in group["params"] if name in held or not tells]
        frozen += [name for name in group["params"] if name not in names]
        for step in sorted({state.steps.get(name, state.step or 0) for name in names}):
            members = tuple(name for name in names if state.steps.get(name, state.step or 0) == step)
            chosen = _chosen(slots, members)
            part = family.to_optax(Part(kind, _settings(group), chosen, step))
            label = (
                f"group_{i}"
                if len({state.steps.get(n, state.step or 0) for n in names}) == 1
                else f"group_{i}_step_{step}"
            )
            yield part, members, label
    if frozen:
        yield None, tuple(frozen), FROZEN


def _torch_parts(state: OptimizerState) -> Iterator[Translated]:
    kind = state.kind[0]
    slots = state.flat_slots()
    groups = state.groups or (
        {**state.hyperparams, "params": tuple(dict.fromkeys(n for s in slots.values() for n in s))},
    )
    for group in groups:
        label = str(group.get("label", ""))
        if label == FROZEN or group.get("kind") == FROZEN:
            continue
        rule = str(group.get("kind", kind))
        members = tuple(group["params"])
        settings = {**state.hyperparams, **_settings(group)}
        part = _family(rule, "optax", settings).to_torch(
            Part(
                rule, settings, _chosen(slots, members), state.steps.get(next(iter(members), ""), state.step)
            )
        )
        yield part, members, label


def _chosen(slots: Mapping[str, Mapping[str, Any]], members: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    found = {
        slot: {name: arrays[name] for name in members if name in arrays} for slot, arrays in slots.items()
    }
    return {slot: arrays for slot, arrays in found.items() if arrays}


def _assembled(parts: list[Translated], state: OptimizerState, framework: str) -> OptimizerState:
    slots: dict[str, list[Any]] = {}
    groups: list[dict[str, Any]] = []
    notes: list[str] = list(state.notes)
    steps: dict[str, int] = {}
    for part, members, label in parts:
        if part is None:
            groups.append({"kind": FROZEN, "params": members, "label": label})
            notes.append(_frozen_note(members))
            continue
        for slot, arrays in part.slots.items():
            slots.setdefault(slot, []).extend((split_name(name), array) for name, array in arrays.items())
        group = {**part.hyperparams, "params": members}
        groups.append({"kind": part.kind, "label": label, **group} if framework == "optax" else group)
        notes += part.notes
        steps.update(dict.fromkeys(members, part.step or 0))
    kinds = tuple(dict.fromkeys(part.kind for part, _, _ in parts if part is not None))
    if framework == "torch" and len(kinds) > 1:
        raise UnsupportedError(f"a torch optimizer has one rule, and this state has {', '.join(kinds)}")
    first = next((group for group in groups if group.get("kind") != FROZEN), {})
    return OptimizerState(
        kinds[:1],
        _settings(first),
        state.step,
        {name: nest(pairs) for name, pairs in slots.items()},
        tuple(groups),
        state.schedule,
        None,
        framework,
        steps if len(set(steps.values())) > 1 else {},
        {},
        tuple(dict.fromkeys([*notes, *_left(state)])),
    )


def _frozen_note(members: tuple[str, ...]) -> str:
    shown = ", ".join(members[:4]) + (", ..." if len(members) > 4 else "")
    return (
        f"{len(members):,} parameters had no gradient so far, and are not updated on the other side: {shown}"
    )


def _left(state: OptimizerState) -> Iterator[str]:
    """What has no place in the other framework's state."""
    if state.framework == "torch" and state.kind[0] in STEPLESS and not state.step:
        yield f"torch's {state.kind[0]} keeps no step: the count begins at 0 where none is given"
    for path, value in state.other.items():
        name = path.rpartition("/")[2]
        if name == "mini_step":
            done = count_of(value)
            if done:
                yield f"saved after {done} steps of accumulation: the gradients accumulated so far are left behind"
        elif name not in ("acc_grads", "skip_state", "gradient_step", "ns_coeffs", "step"):
            yield f"{path} has no place on the other side"
