"""OptimizerState: what an optimizer keeps, under one set of names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ckpt_core.view import Nested

__all__ = ["Home", "OptimizerState"]


@dataclass(frozen=True)
class Home:
    """Where a translated state came from: what the other framework's state has no place for.

    With it the way back is exact, where the run did not go on meanwhile: groups, order, flags and counters are as they
    were.

    Arguments:
        framework: "torch" or "optax".
        kind: the rule there.
        groups: one mapping for each group: its settings, its label where optax gave one, and the names that its
            parameters have there, in order, under `params`.
        has_names: the groups carried the names of their parameters.
        step_dtype: what torch counted its steps in.
        schedulers: the states of torch's schedulers, by the names that they were saved under.
    """

    framework: str
    kind: str
    groups: tuple[Mapping[str, Any], ...]
    has_names: bool = False
    step_dtype: str = "float32"
    schedulers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizerState:
    """The state of one optimizer.

    Arguments:
        kind: the update rules that can have written it, by lower-case name; empty when unknown. Files do not always
            say: adam, nadam, radam, adamax and yogi states look the same in optax, so that all are listed.
        hyperparams: those of the first group, in the framework's own names; empty where the file keeps none.
        step: the number of updates made, or None where it is not said.
        slots: per-parameter quantities under neutral names (`mu`, `nu`, `trace`, ...): trees parallel to the
            parameters, which `slots["mu"]["encoder/weight"]` looks into. Where a torch file does not say which
            parameter is which, they are keyed by position, and `notes` says why.
        groups: one mapping for each parameter group: its hyperparameters, its parameters' names (or positions)
            under `params`, and its label under `label` where optax gave it one.
        schedule: what a learning-rate schedule keeps, where it is part of the state.
        native: the state exactly as it was saved.
        framework: "torch" or "optax": whose conventions the slots and the hyperparameters follow.
        steps: the number of updates of each parameter, where they differ.
        other: members without a neutral name, as they are, by their path in `native`.
        notes: what a reader should be told, one sentence each.
        home: where a translated state came from.

    Example:
        >>> OptimizerState(("adam",), {"lr": 1e-3}, 10, {}, framework="torch").step
        10
    """

    kind: tuple[str, ...]
    hyperparams: Mapping[str, Any]
    step: int | None
    slots: Mapping[str, Any]
    groups: tuple[Mapping[str, Any], ...] = ()
    schedule: Any = None
    native: Any = field(default=None, repr=False)
    framework: str = ""
    steps: Mapping[str, int] = field(default_factory=dict)
    other: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    home: Home | None = field(default=None, repr=False)

    @property
    def is_named(self) -> bool:
        """Whether the slots are known by their parameters' names."""
        return all(isinstance(slot, Nested) for slot in self.slots.values())

    def flat_slots(self) -> dict[str, dict[str, Any]]:
        """Return the slots as (name to array) mappings, names joined by `/`; positions stay positions."""
        return {
            name: dict(slot.leaves()) if isinstance(slot, Nested) else dict(slot)
            for name, slot in self.slots.items()
        }
