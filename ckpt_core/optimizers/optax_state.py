"""optax states as neutral states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.keypath import join_name
from ckpt_core.layouts.values import is_plain, number
from ckpt_core.optimizers.kinds import StateSeen, optax_kinds
from ckpt_core.optimizers.optax_members import Member, bare, count_of, members, place_of, trace_is_scaled
from ckpt_core.optimizers.state import OptimizerState
from ckpt_core.tree import KeyPath, render_path
from ckpt_core.view import named_weights, nest

__all__ = ["BARE", "MASKED", "WRAPPED", "read_optax"]

_AROUND: Final = frozenset({"fast_state", "base_optimizer_state"})
"""Of the wrappers, those that make another rule of the one that they hold."""

WRAPPED: Final = "the rule is within another one (lookahead, schedule_free, mechanic or the like)"
"""The note of a state whose rule is a part of another."""

BARE: Final = (
    "groups that keep nothing for their parameters, so that the state does not say which they update"
)
"""What the note of a state begins with where a group's rule has no slots (plain SGD)."""

MASKED: Final = (
    "a part of the rule is for some parameters alone (masked), and the state does not say for which"
)
"""The note of a state whose weight decay has a mask."""


def read_optax(native: Any) -> OptimizerState:
    """Read an optax state, or an `nnx.Optimizer`'s: chains, masks, groups, accumulation and injected values included.

    Arguments:
        native: the state, as Orbax, msgpack or a pickle holds it.
    """
    found = _Found()
    every = list(members(native))
    for member in every:
        found.take(member)
    slots = {name: nest(pairs) for name, pairs in found.slots.items()}
    groups = tuple(
        {**found.hyperparams.get(label, {}), "params": tuple(names), "label": label}
        for label, names in found.groups.items()
    )
    hyperparams = dict(next(iter(found.hyperparams.values()), {}))
    scaled = trace_is_scaled(every)
    if scaled is not None:
        hyperparams["trace_is_scaled"] = scaled
    steps = found.steps()
    counts = list(found.counts.values())
    step = max(counts, default=found.schedule if found.schedule is not None else found.outer)
    differ = len(set(steps.values())) > 1
    notes = ["the members of the state count different numbers of updates"] if differ else []
    notes += [note for note, holds in ((MASKED, found.is_masked), (WRAPPED, found.is_wrapped)) if holds]
    if bare := found.bare_groups():
        notes.append(f"{BARE}: {', '.join(bare)}")
    schedule = None if found.schedule is None else {"count": found.schedule}
    return OptimizerState(
        optax_kinds(found.states),
        hyperparams,
        step,
        slots,
        groups if len(groups) > 1 or (groups and groups[0]["label"]) else (),
        schedule,
        native,
        "optax",
        steps if differ else {},
        found.other,
        tuple(notes),
    )


class _Found:
    """What the members add up to."""

    def __init__(self) -> None:
        self.slots: dict[str, list[tuple[tuple[str, ...], LazyArray]]] = {}
        self.named: dict[str, set[tuple[str, ...]]] = {}
        self.groups: dict[str, dict[str, None]] = {}
        self.counts: dict[KeyPath, int] = {}
        self.members: dict[KeyPath, set[str]] = {}
        self.schedule: int | None = None
        self.outer: int | None = None
        self.hyperparams: dict[str, dict[str, Any]] = {}
        self.states: list[StateSeen] = []
        self.other: dict[str, Any] = {}
        self.is_masked = False
        self.is_wrapped = False
        self.empties: dict[str, int] = {}
        self._last_state: KeyPath | None = None

    def take(self, member: Member) -> None:
        label = "/".join(member.labels)
        if member.labels:
            self.groups.setdefault(label, {})
        self.is_wrapped |= bool(_AROUND & set(member.path))
        if member.role in ("slot", "count"):
            self._state(member)
        if member.role == "slot":
            self._slot(member, label)
        elif member.role == "count":
            count = count_of(member.value)
            if count is None:
                self.other[render_path(member.path)] = member.value
            else:
                self.counts[member.path[:-1]] = count
        elif member.role == "schedule":
            count = count_of(member.value)
            self.schedule = self.schedule if count is None else max(count, self.schedule or 0)
        elif (
            member.role == "hyperparams"
            and isinstance(member.value, Mapping)
            and is_plain(bare(member.value))
        ):
            self.hyperparams[label] = {str(k): number(v) for k, v in bare(member.value).items()}
        elif member.role == "injected" or (
            member.role == "wrapper" and member.name in ("step", "gradient_step")
        ):
            self.outer = count_of(member.value)
            # an nnx.Optimizer counts for itself
            if "opt_state" not in member.fields and member.role == "wrapper":
                self.other[render_path(member.path)] = member.value
        elif member.role == "mask":
            self.is_masked = True
        elif member.role == "empty":
            self.empties[label] = self.empties.get(label, 0) + 1
        else:
            self.other[render_path(member.path)] = member.value

    def _state(self, member: Member) -> None:
        if member.path[:-1] != self._last_state:
            self._last_state = member.path[:-1]
            self.states.append(StateSeen(member.fields, member.type_name, place_of(member.path)))

    def _slot(self, member: Member, label: str) -> None:
        pairs = [(segments, array) for segments, array, _ in named_weights(member.value, [()])]
        name, number_ = member.name, 2
        while self.named.get(name, set()) & {segments for segments, _ in pairs}:
            # a second state of the same fields in one chain
            name, number_ = f"{member.name}_{number_}", number_ + 1
        self.slots.setdefault(name, []).extend(pairs)
        self.named.setdefault(name, set()).update(segments for segments, _ in pairs)
        names = {join_name(segments): None for segments, _ in pairs}
        self.members.setdefault(member.path[:-1], set()).update(names)
        if member.labels:
            self.groups[label].update(names)

    def bare_groups(self) -> list[str]:
        """The groups whose rule moves parameters and keeps nothing: a chain of more than one member."""
        return [label for label, names in self.groups.items() if not names and self.empties.get(label, 0) > 1]

    def steps(self) -> dict[str, int]:
        """The number of updates of each parameter: the count of the state that its slots are in."""
        return {
            name: count for path, count in self.counts.items() for name in sorted(self.members.get(path, ()))
        }
