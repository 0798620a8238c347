"""TorchRule, OptaxRule and Keeps: what is known of one update rule of a framework, as data."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Keeps", "OptaxRule", "TorchRule"]


@dataclass(frozen=True)
class TorchRule:
    """A torch optimizer: what it keeps for a parameter, what tells it from others, and how it is made.

    Arguments:
        kind: the name of its class in lower case.
        function: the dotted name of the class; "" where third parties have theirs.
        slots: the neutral name of each thing that it keeps for a parameter, by torch's own name; `step` goes without
            saying.
        defaults: the settings that a parameter group holds where nothing else is said.
        optional: of the slots, those that some settings or some parameters go without.
        marks: settings that a group of this rule has, and no other rule of the same slots.
        lacks: settings that a group of this rule never has.
        flags: settings that are on or off in this rule, where a group has them.
        hidden: settings that the constructor does not take.
        has_step: it counts the updates of each parameter.
        is_eager: its state is there before the first step.
        is_joint: it keeps one entry for all parameters together, which has no slots.
    """

    kind: str
    function: str
    slots: Mapping[str, str]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    flags: Mapping[str, bool] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    has_step: bool = True
    is_eager: bool = False
    is_joint: bool = False

    def allows(self, settings: Mapping[str, Any]) -> bool:
        """Whether a group with these settings can be of this rule."""
        if self.lacks & settings.keys():
            return False
        return all(bool(settings[name]) == value for name, value in self.flags.items() if name in settings)

    def fits(self, names: AbstractSet[str], settings: Mapping[str, Any]) -> bool:
        """Whether it can have written a state with these slots under these settings.

        Arguments:
            names: torch's names of the slots that are there; none before the first step, when only marks tell.
            settings: those of a group.
        """
        if not self.allows(settings):
            return False
        if not names:
            return self.is_marked(settings)
        return (
            bool(names & self.slots.keys())
            and self.slots.keys() - self.optional <= names <= self.slots.keys()
        )

    def is_marked(self, settings: Mapping[str, Any]) -> bool:
        """Whether the settings alone tell this rule."""
        return bool(self.marks) and self.marks <= settings.keys()


@dataclass(frozen=True)
class Keeps:
    """The state of one optax transformation: a named tuple.

    Arguments:
        name: the dotted name of its class.
        fields: the fields in order; `count` is the number of updates, the others are slots.
        neutral: the neutral names of the fields that have another one here.
        scalars: of the fields, those that are no slots: one value for all parameters, or a history of them.
    """

    name: str
    fields: tuple[str, ...] = ()
    neutral: Mapping[str, str] = field(default_factory=dict)
    scalars: frozenset[str] = frozenset()

    @property
    def class_name(self) -> str:
        """The name of the class without its module, which versions of optax move about."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True)
class OptaxRule:
    """An optax optimizer: what it takes, and what it keeps.

    Arguments:
        kind: the name of the function; `torch_...` for the transformations of `ckpt_flax.transforms`.
        function: its dotted name; "" where a chain makes it.
        defaults: what it takes where nothing else is said; None for what must be given.
        keeps: the state that holds its slots, in every form that settings give it; none where it keeps no slots.
        always_keeps: it has slots under any settings.
        place: which transformation of the function's own chain keeps it, where that tells it from other rules; None
            where it does not.
    """

    kind: str
    function: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    keeps: tuple[Keeps, ...] = ()
    always_keeps: bool = True
    place: int | None = None
