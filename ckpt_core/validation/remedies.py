"""What to do about a report's differences: the command, or the argument, that makes them go away."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Collection, Iterable
from typing import Final

from ckpt_core.framework import Template
from ckpt_core.schema import Checkpoint
from ckpt_core.validation.report import LikelyField, Prefix, Problem, ValidationReport
from ckpt_core.validation.text import values_text

__all__ = ["framework_note", "remedies_for"]

_MARKS: Final = {
    "torch": frozenset({"weight", "running_mean", "running_var", "num_batches_tracked", "in_proj_weight"}),
    "flax": frozenset({"kernel", "scale", "embedding", "mean", "var"}),
}
"""Last parts of names by which a framework's own layers are told."""

_STAYING: Final = ("shape", "missing", "unexpected")
"""Kinds of differences that leave a part of the model as it is."""

_PARTS: Final = 3
"""Parts of a model that may stay as they are."""

_LOOK: Final = 2000
"""Names that are looked at for that."""


def remedies_for(
    ckpt: Checkpoint,
    template: Template,
    report: ValidationReport,
    prefix: Prefix | None,
    fields: Collection[LikelyField],
    is_foreign: bool,
) -> tuple[str, ...]:
    """Return what to do, the likeliest first, a sentence or a command each."""
    problems = report.problems
    path = shlex.quote(ckpt.path or "CHECKPOINT")
    kinds = {problem.kind for problem in problems}
    ways: list[str] = []
    if is_foreign:
        target = template.framework or "FRAMEWORK"
        more = " --with-optimizer" if "optimizer" in kinds else ""
        return (f"ckpt transfer {path} --like TEMPLATE.json --to {target}{more} --out OUT",)
    if prefix is not None:
        ways += _without_prefix(path, prefix)
    elif ckpt.metadata.replicas and "shape" in kinds:
        ways.append(f"ckpt convert {path} OUT --unreplicate  (the leaves are copies, one for each device)")
    if fields:
        said = ", ".join(f"{item.field}={values_text(item.values)}" for item in list(fields)[:4])
        ways.append(f"build the model with {said}; ckpt config {path} shows the config that fits")
    if any(problem.near for problem in problems) and prefix is None:
        ways.append(f"ckpt transfer {path} --like TEMPLATE.json --out OUT  (names that differ are mapped)")
    is_misbuilt = bool(fields and report.shape_mismatches)
    if prefix is None and not is_misbuilt:
        ways += _letting_through(report)
    if "tied" in kinds:
        names = [problem.name for problem in problems if problem.kind == "tied"]
        ways.append(f"restore(..., partial={names[:3]!r}) fills both from the other name")
    if "optimizer" in kinds:
        ways.append(
            "restore(..., partial=['optimizer/**']) takes the weights, and leaves the optimizer fresh"
        )
    if "scheduler" in kinds:
        ways.append(
            "leave scheduler= out, or make the scheduler as it was made then (ckpt.schedulers has its settings)"
        )
    if "scaler" in kinds:
        ways.append("leave scaler= out: a fresh gradient scaler finds its scale within some steps")
    return tuple(ways)


def _without_prefix(path: str, prefix: Prefix) -> list[str]:
    ways = []
    if prefix.checkpoint:
        text = shlex.quote(prefix.checkpoint)
        ways.append(
            f"restore(..., strip_prefix={prefix.checkpoint!r}), or ckpt convert {path} OUT --strip-prefix {text}"
        )
    if prefix.model:
        ways.append(f"pass the part of the model below it: model.{prefix.model.replace('/', '.')}")
    return ways


def _letting_through(report: ValidationReport) -> list[str]:
    """The call that lets every difference in the weights through, where those are a few parts of the model."""
    arguments, effects = [], []
    if report.dtype_mismatches:
        arguments.append('dtypes="cast"')
        effects.append("casts to the model's dtypes")
    others = [one for one in report.problems if one.kind in _STAYING]
    parts = list(dict.fromkeys(_part_of(one.name) for one in others))
    is_all = bool(others) and not report.matched and not report.dtype_mismatches
    if is_all or len(parts) > _PARTS:  # what would stay as it is makes up the model
        return []
    if parts:
        arguments.append(f"partial={parts!r}")
        effects.append("leaves these as they are")
    return [f"restore(..., {', '.join(arguments)}) {', and '.join(effects)}"] if arguments else []


def _part_of(name: str) -> str:
    """A pattern for the part of a model, at its top, that an array belongs to."""
    top, is_below, _ = name.partition("/")
    return f"{top}/**" if is_below else top


def framework_note(template: Template, names: Iterable[str], problems: Collection[Problem]) -> str:
    """Return a sentence where the checkpoint's names are one framework's and the model's another's, else "".

    The names decide, not the container: one framework's weights are at home in the other's files, too.
    """
    if not any(problem.kind == "missing" for problem in problems):
        return ""
    ours = _names_of(names)
    theirs = _names_of(slot.name for slot in template.slots) or template.framework
    if not ours or not theirs or ours == theirs:
        return ""
    return (
        f"the checkpoint has the names and array layouts of {ours}, the model those of {theirs}: "
        "such weights are transferred, not restored"
    )


def _names_of(names: Iterable[str]) -> str:
    """The framework whose layers have such names, or "" where they do not say."""
    counts = dict.fromkeys(_MARKS, 0)
    for name in itertools.islice(names, _LOOK):
        last = name.rpartition("/")[2]
        for framework, marks in _MARKS.items():
            counts[framework] += last in marks
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] > 2 * (sum(counts.values()) - counts[best]) else ""
