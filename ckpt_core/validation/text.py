"""A report as text: `problem @ path`, repeated blocks on one line, both sides named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ckpt_core.arrays import ArraySpec
from ckpt_core.rendering.folding import fold_names
from ckpt_core.rendering.text import clean

if TYPE_CHECKING:
    from ckpt_core.validation.report import LikelyField, Prefix, Problem, ValidationReport

__all__ = ["problem_lines", "report_lines", "spec_text", "summary", "values_text"]

_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_LINES: Final = 40
_WAIVED_LINES: Final = 5
_KINDS: Final = {
    "shape": "of another shape",
    "dtype": "of another dtype",
    "missing": "missing",
    "unexpected": "unexpected",
    "tied": "tied in the model alone",
    "optimizer": "in the optimizer",
    "scheduler": "in the scheduler",
    "scaler": "in the gradient scaler",
}
"""The kinds of problems in the order in which they are shown, and how they are counted."""


def summary(report: ValidationReport) -> str:
    """Return what came out as a clause: how many arrays fit, how many differences there are of each kind."""
    if report.ok:
        waived = f", {len(report.waived):,} differences let through" if report.waived else ""
        return f"fits {clean(report.model, 500)}: {_arrays(report.matched)} agree{waived}"
    counts = {kind: sum(problem.kind == kind for problem in report.problems) for kind in _KINDS}
    said = ", ".join(f"{count:,} {_KINDS[kind]}" for kind, count in counts.items() if count)
    return f"does not fit {clean(report.model, 500)}: {said}; {_arrays(report.matched)} agree"


def report_lines(report: ValidationReport) -> list[str]:
    """Return a report as lines, the summary first.

    Where a prefix alone keeps the names apart, what is left without it is shown instead of every name twice.
    """
    lines = [f"{clean(report.checkpoint, 1000)} {summary(report)}"]
    if report.prefix is not None:
        lines += [f"  {_prefix_text(report.prefix)}", *problem_lines(report.prefix.remaining, _LINES)]
    else:
        lines += problem_lines(report.problems, _LINES)
    if report.waived:
        lines += ["  let through, as asked:", *problem_lines(report.waived, _WAIVED_LINES, "    ")]
    lines += [f"  likely cause: {_field_text(item)}" for item in report.fields]
    lines += [f"  note: {clean(note, 500)}" for note in report.notes]
    if report.siblings:
        lines.append(f"  would fit: {', '.join(clean(path, 500) for path in report.siblings)}")
    return lines + [f"  -> {clean(remedy, 1000)}" for remedy in report.remedies]


def problem_lines(problems: Sequence[Problem], most: int, indent: str = "  ") -> list[str]:
    """Return problems as `problem @ path` lines; those that differ in numbers alone share one."""
    order = {kind: place for place, kind in enumerate(_KINDS)}
    groups: dict[tuple[str, ...], list[Problem]] = {}
    for problem in sorted(problems, key=lambda problem: order[problem.kind]):
        key = (_said(problem), _NUMBER.sub("#", problem.name), _NUMBER.sub("#", problem.near or ""))
        groups.setdefault(key, []).append(problem)
    lines = []
    for (said, _, near), members in list(groups.items())[:most]:
        line = f"{indent}{said} @ {_folded([problem.name for problem in members])}"
        line += f" ({len(members):,} leaves)" if len(members) > 1 else ""
        line += f", did you mean {_folded([problem.near or '' for problem in members])}?" if near else ""
        lines.append(line)
    if len(groups) > most:
        rest = sum(len(members) for members in list(groups.values())[most:])
        lines.append(f"{indent}and {rest:,} more (as_dict() and --json have all)")
    return lines


def _folded(names: list[str]) -> str:
    return fold_names([(name, "") for name in names])[0][0]


def _said(problem: Problem) -> str:
    return f"{problem.kind}: {_side(problem.found)} in the checkpoint, {_side(problem.expected)} in the model"


def _side(value: ArraySpec | str | None) -> str:
    if value is None:
        return "nothing"
    return spec_text(value) if isinstance(value, ArraySpec) else clean(value)


def spec_text(spec: ArraySpec) -> str:
    """Return the dtype and shape: `float32[32, 64]`."""
    return f"{spec.dtype}{list(spec.shape)}"


def _prefix_text(prefix: Prefix) -> str:
    sides = [
        f"names in the {side} begin with {text!r}"
        for side, text in (("checkpoint", prefix.checkpoint), ("model", prefix.model))
        if text
    ]
    left = len(prefix.remaining)
    rest = f"{left:,} differences are left" if left else "everything fits"
    return f"prefix: {', '.join(sides)}; without it {rest}"


def _field_text(item: LikelyField) -> str:
    values = values_text(item.values)
    instead = f", {values_text(item.instead)} in the model" if item.instead else ""
    return f"{clean(item.field)} = {values} in the checkpoint{instead} ({clean(item.evidence, 200)})"


def values_text(values: tuple[object, ...]) -> str:
    """Return possible values: `32`, `2, 3 or 6`."""
    shown = [clean(str(value), 40) for value in values[:6]] + (["..."] if len(values) > 6 else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"


def _arrays(count: int) -> str:
    return f"{count:,} array{'' if count == 1 else 's'}"
