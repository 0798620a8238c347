"""ValidationReport: every difference between a checkpoint and a model, and what would make them fit."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from ckpt_core.arrays import ArraySpec
from ckpt_core.errors import MismatchError
from ckpt_core.validation.text import report_lines, summary

__all__ = ["LikelyField", "Prefix", "Problem", "ValidationReport"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One leaf, or one setting of the optimizer, on which the two sides differ.

    Arguments:
        kind: "missing" (only in the model), "unexpected" (only in the checkpoint), "shape", "dtype",
            "optimizer", "scheduler", "scaler", or "tied" (tied in the model, different in the checkpoint).
        name: the leaf's name, segments joined by `/`.
        found: what is in the checkpoint; None where there is nothing.
        expected: what is in the model, likewise.
        role: "param", "buffer", "optimizer", "scheduler" or "scaler".
        near: the name on the other side that was probably meant.
    """

    kind: str
    name: str
    found: ArraySpec | str | None
    expected: ArraySpec | str | None
    role: str = "param"
    near: str | None = None


@dataclass(frozen=True, slots=True)
class Prefix:
    """First segments of all names of one side that the other side lacks; without them the names agree.

    Arguments:
        checkpoint: those in the checkpoint, joined by `/`, or "".
        model: those in the model, likewise.
        remaining: the differences that are left when they are taken off.
    """

    checkpoint: str
    model: str
    remaining: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class LikelyField:
    """A field of the configuration that was probably another when the checkpoint was written.

    Arguments:
        field: its name.
        values: what it can have been in the checkpoint.
        instead: what it can be in the model.
        evidence: the equation of a shape rule ("32 = num_slots"), or where the value was seen.
    """

    field: str
    values: tuple[Any, ...]
    instead: tuple[Any, ...]
    evidence: str


@dataclass(frozen=True)
class ValidationReport:
    """Whether a checkpoint fits a model, and every difference when it does not.

    Arguments:
        checkpoint: the path of the checkpoint, or "the checkpoint".
        model: "the model", or the path of what was compared with.
        matched: how many arrays agree in name, shape and dtype.
        problems: the differences that stand in the way.
        waived: the differences that `partial=` or `dtypes=` let through.
        prefix: the prefix that keeps the names apart, where there is one.
        fields: likely fields of the configuration.
        remedies: what to do, a command or an argument each, the likeliest first.
        notes: what else was noticed, a sentence each.
        siblings: other checkpoints of the same run that would fit.
    """

    checkpoint: str
    model: str
    matched: int
    problems: tuple[Problem, ...] = ()
    waived: tuple[Problem, ...] = ()
    prefix: Prefix | None = None
    fields: tuple[LikelyField, ...] = ()
    remedies: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    siblings: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Say whether nothing stands in the way."""
        return not self.problems

    @property
    def missing(self) -> tuple[Problem, ...]:
        """What the model has and the checkpoint has not."""
        return self._of("missing")

    @property
    def unexpected(self) -> tuple[Problem, ...]:
        """What the checkpoint has and the model has not."""
        return self._of("unexpected")

    @property
    def shape_mismatches(self) -> tuple[Problem, ...]:
        """Arrays of one name and two shapes."""
        return self._of("shape")

    @property
    def dtype_mismatches(self) -> tuple[Problem, ...]:
        """Arrays of one name and shape and two dtypes."""
        return self._of("dtype")

    def _of(self, kind: str) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.kind == kind)

    def raise_if_failed(self) -> ValidationReport:
        """Return the report itself when all is well.

        Raises:
            MismatchError: it is not; its text is the report's, and `report` is the report.
        """
        if self.problems:
            _, *lines = report_lines(self)
            raise MismatchError(f"{summary(self)}\n" + "\n".join(lines), self, path=self.checkpoint)
        return self

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        data = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        data["problems"] = [_plain(problem) for problem in self.problems]
        data["waived"] = [_plain(problem) for problem in self.waived]
        data["prefix"] = None if self.prefix is None else _plain_prefix(self.prefix)
        data["fields"] = [dataclasses.asdict(item) for item in self.fields]
        return {"ok": self.ok, **data}

    def __str__(self) -> str:
        return "\n".join(report_lines(self))

    def _repr_html_(self) -> str:
        from ckpt_core.validation.html import validation_html

        return validation_html(self)


def _plain(problem: Problem) -> dict[str, Any]:
    sides = {side: _side(getattr(problem, side)) for side in ("found", "expected")}
    return {"kind": problem.kind, "name": problem.name, **sides, "role": problem.role, "near": problem.near}


def _plain_prefix(prefix: Prefix) -> dict[str, Any]:
    return {
        "checkpoint": prefix.checkpoint,
        "model": prefix.model,
        "remaining": [_plain(problem) for problem in prefix.remaining],
    }


def _side(value: ArraySpec | str | None) -> Any:
    return {"shape": list(value.shape), "dtype": value.dtype} if isinstance(value, ArraySpec) else value
