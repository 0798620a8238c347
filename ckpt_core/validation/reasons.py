"""What explains the differences of a report, and what to do about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ckpt_core.arrays import ArraySpec
from ckpt_core.config.rules import rules_of
from ckpt_core.framework import Slot, Template
from ckpt_core.schema import Checkpoint
from ckpt_core.validation.asked import Asked
from ckpt_core.validation.causes import count_notes, leaves_of, likely_fields
from ckpt_core.validation.leaves import compared, optional_names
from ckpt_core.validation.names import common_prefix, without_prefix
from ckpt_core.validation.remedies import framework_note, remedies_for
from ckpt_core.validation.report import Prefix, ValidationReport

__all__ = ["explained"]

_MOST_NOTES: Final = 8


def explained(
    report: ValidationReport,
    ckpt: Checkpoint,
    template: Template,
    found: Mapping[str, ArraySpec],
    expected: Mapping[str, Slot],
    asked: Asked,
) -> ValidationReport:
    """Return a report with what explains its problems, and what to do.

    Arguments:
        report: the problems.
        ckpt, template: both sides.
        found, expected: their leaves by name.
        asked: what was to be let through, and the shape rules.
    """
    prefix = _prefix(report, found, expected, template, asked)
    shapes = {name: spec.shape for name, spec in found.items()}
    wanted = {name: slot.spec.shape for name, slot in expected.items()}
    fields = likely_fields(
        report.problems, shapes, wanted, ckpt.config, rules_of(asked.rules, leaves_of(shapes))
    )
    foreign = framework_note(template, found, report.problems)
    notes = [foreign] if foreign else count_notes(found, expected)[:_MOST_NOTES] if prefix is None else []
    notes += _copies_note(ckpt)
    return replace(
        report,
        prefix=prefix,
        fields=fields,
        notes=tuple(notes),
        remedies=remedies_for(ckpt, template, report, prefix, fields, bool(foreign)),
    )


def _prefix(
    report: ValidationReport,
    found: Mapping[str, ArraySpec],
    expected: Mapping[str, Slot],
    template: Template,
    asked: Asked,
) -> Prefix | None:
    if not report.missing:
        return None
    pair = common_prefix(found, expected)
    if pair is None:
        return None
    ours, theirs = (without_prefix(side, text) for side, text in zip((found, expected), pair, strict=True))
    renamed = {ours.get(name, name): spec for name, spec in found.items()}
    wanted = {theirs.get(name, name): slot for name, slot in expected.items()}
    optional = optional_names(template, renamed).values()
    left = [p for p in compared(renamed, wanted, optional).problems if not asked.lets_through(p)]
    return Prefix(*pair, tuple(left))


def _copies_note(ckpt: Checkpoint) -> list[str]:
    names = list(ckpt.ema)
    return [f"it also holds other copies of the weights: {', '.join(names)} (weights=...)"] if names else []
