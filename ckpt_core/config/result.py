"""What resolving a config gives: each value with where it came from, and everything that does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ckpt_core.config.structure import Structure

__all__ = ["ConfigWarning", "Conflict", "Given", "Hint", "Origin", "ResolvedConfig", "Undecided"]


class ConfigWarning(UserWarning):
    """A config contradicted the shapes of the weights, and the caller chose to go on."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value of one field, and who says so.

    Arguments:
        value: the value.
        source: "override", "saved", "beside", "inferred" or "default"; in conflicts also "data".
        where: the place: "args/lr", "config.json", "slots_mu, axis 0".
    """

    value: Any
    source: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.value!r} ({self.source})"


@dataclass(frozen=True, slots=True)
class Origin(Given):
    """The value that was chosen for a field, with those it won over.

    Arguments:
        overruled: other values that were given for the field, the strongest first.
    """

    overruled: tuple[Given, ...] = ()


@dataclass(frozen=True, slots=True)
class Conflict:
    """Values that contradict the shapes of the weights, or the data.

    Arguments:
        equation: "72 = 2**2 * sample_size * 3".
        where: where its left side was seen.
        field: the field whose value is wrong; "" where no single one can be named.
        given: what the config (or the data) says about that field; None where no single one can be named.
        correct: the value that the equation gives, where it gives one.
        problem: the sentence to show instead, where there is no single field.
    """

    equation: str
    where: str
    field: str = ""
    given: Given | None = None
    correct: int | None = None
    problem: str = ""

    def __str__(self) -> str:
        if self.given is None:
            return f"{self.equation} {self.problem}"
        who = "data" if self.given.source == "data" else "config"
        source = self.given.where if who == "data" else self.given.source
        gives = f"gives {self.field} = {self.correct}" if self.correct is not None else self.problem
        return f"{self.equation} {gives}; {who} says {self.given.value!r} ({source})"


@dataclass(frozen=True, slots=True)
class Undecided:
    """Fields that the shapes bind together without settling them.

    Arguments:
        equations: "72 = patch_size**2 * sample_size * channels".
        solutions: a value per field in each.
        is_complete: there are no others.
    """

    equations: tuple[str, ...]
    solutions: tuple[Mapping[str, int], ...]
    is_complete: bool = True

    def values(self, name: str) -> tuple[int, ...]:
        """Return the values that a field can have, in ascending order."""
        return tuple(sorted({row[name] for row in self.solutions if name in row}))


@dataclass(frozen=True, slots=True)
class Hint:
    """A number in the name of the file, and the fields whose value it could be. It is never taken as one.

    Arguments:
        number: the number.
        fields: the fields, or without rules the arrays, that it fits.
    """

    number: int
    fields: tuple[str, ...]


@dataclass(frozen=True)
class ResolvedConfig:
    """A config with the source of each value.

    Arguments:
        config: the filled object, of the kind that was asked for; None where fields stayed `missing`.
        provenance: dotted field to where its value came from.
        conflicts: what contradicts the shapes of the weights, or the data.
        undecided: fields that shapes bind together without settling them, with all solutions.
        not_inferable: fields that nothing but a default says and that shapes cannot tell, with the reason.
        missing: fields that have no value at all.
        lost: saved entries that no field takes, with their values.
        gained: fields that the saved config does not have, and that were left at their default.
        hints: numbers in the file's name.
        facts: every name in the rules that was settled, fields or not.
        structure: what the names and shapes say without rules.
        rules: the names of the rule sets that were used.
        notes: what else there is to know, one sentence each.
    """

    config: Any
    provenance: Mapping[str, Origin]
    conflicts: tuple[Conflict, ...] = ()
    undecided: tuple[Undecided, ...] = ()
    not_inferable: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    lost: Mapping[str, Any] = field(default_factory=dict)
    gained: tuple[str, ...] = ()
    hints: tuple[Hint, ...] = ()
    facts: Mapping[str, int] = field(default_factory=dict)
    structure: Structure | None = None
    rules: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        from ckpt_core.config.report import report_lines

        return "\n".join(report_lines(self))

    @property
    def values(self) -> dict[str, Any]:
        """The values by dotted field name."""
        return {name: origin.value for name, origin in self.provenance.items()}

    def _repr_html_(self) -> str:
        from ckpt_core.config.html import config_html

        return config_html(self)
