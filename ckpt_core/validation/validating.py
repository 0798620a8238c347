"""validate: whether a checkpoint fits a model, decided from structure alone."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import ArraySpec, LazyArray
from ckpt_core.config.rules import Rules, rules_of
from ckpt_core.detect import paused_collector
from ckpt_core.dtypes import is_complex, is_float, to_numpy
from ckpt_core.errors import UsageError
from ckpt_core.framework import Slot, Template
from ckpt_core.keypath import join_name
from ckpt_core.schema import Checkpoint
from ckpt_core.select import matches
from ckpt_core.template import template_of
from ckpt_core.validation.causes import count_notes, leaves_of, likely_fields
from ckpt_core.validation.choosing import opened
from ckpt_core.validation.leaves import compared, expected_by_key, found_by_key
from ckpt_core.validation.names import common_prefix, without_prefix
from ckpt_core.validation.remedies import framework_note, remedies_for
from ckpt_core.validation.report import Prefix, Problem, ValidationReport

__all__ = ["DTYPES", "Asked", "Match", "explained", "match", "validate"]

DTYPES: Final = ("exact", "widen", "cast")
"""What may happen to a dtype that differs: nothing; a float or integer may become one that holds all its values;
any float may become any other, and any integer any other."""


@dataclass(frozen=True)
class Asked:
    """What a comparison was asked to let through.

    Arguments:
        dtypes: one of DTYPES.
        partial: patterns of names whose differences are let through.
        strip_prefix: first segments that are taken off the checkpoint's names.
        rules: shape rules that explain differences; None for the registered ones that fit.
    """

    dtypes: str = "exact"
    partial: tuple[str, ...] = ()
    strip_prefix: str | None = None
    rules: Rules = None

    def __post_init__(self) -> None:
        if self.dtypes not in DTYPES:
            raise UsageError(
                f"dtypes={self.dtypes!r}", remedy=f"It is one of {', '.join(map(repr, DTYPES))}."
            )


@dataclass(frozen=True)
class Match:
    """A report, and what fills each slot of the model.

    Arguments:
        report: what agrees and what not.
        sources: the array of the checkpoint for each slot that one fits, by the slot's name.
        names: every name that patterns can mean.
    """

    report: ValidationReport
    sources: Mapping[str, LazyArray]
    names: Collection[str]

    def check_patterns(self, patterns: Sequence[str]) -> None:
        """Raise UsageError for a pattern that fits no name at all."""
        for pattern in patterns:
            if not any(matches(name, (pattern,)) for name in self.names):
                examples = ", ".join(list(self.names)[:5])
                raise UsageError(
                    f"the pattern {pattern!r} fits no name of either side",
                    remedy=f"There is, for example: {examples}.",
                )


def validate(
    ckpt: Checkpoint | str | os.PathLike[str],
    like: Any,
    *,
    dtypes: str = "exact",
    partial: str | Sequence[str] = (),
    strip_prefix: str | None = None,
    rules: Rules = None,
    weights: str | None = None,
) -> ValidationReport:
    """Report every difference between a checkpoint and what a model expects; reads no array.

    Arguments:
        ckpt: an open checkpoint, or the path of one.
        like: a torch module (on any device, the meta device too), Flax variables, a linen module with its
            variables, a TrainState, an NNX model, `jax.eval_shape` of one, a tree of arrays or of shapes and
            dtypes, another checkpoint, or the path of one or of a JSON template.
        dtypes: "exact": a dtype that differs is a problem; "widen": not where the model's holds every value of
            the checkpoint's; "cast": not between floats, nor between integers.
        partial: patterns of names (`head/**`) whose differences are let through.
        strip_prefix: first segments to take off the checkpoint's names ("module").
        rules: shape rules of this model, as `resolve_config` takes them, for the likely fields of its
            configuration; by default the registered ones that fit.
        weights: which copy of the weights is meant, where `ckpt` is a path ("ema").

    Returns:
        The report. `ok` says whether it fits, `raise_if_failed()` raises MismatchError.

    Raises:
        UsageError: `like` is nothing that says what a model expects, or a pattern fits no name.
        CheckpointError: the checkpoint cannot be opened.

    Example:
        >>> validate({"w": np.zeros((2, 3), np.float32)}, {"w": ArraySpec((2, 4), "float32")}).ok
        False
    """
    patterns = (partial,) if isinstance(partial, str) else tuple(partial)
    asked = Asked(dtypes, patterns, strip_prefix, rules)
    with paused_collector():
        template = template_of(like)
        with opened(ckpt, weights) as (found, _):
            result = match(found, template, asked)
            result.check_patterns(patterns)
            return result.report


def match(ckpt: Checkpoint, template: Template, asked: Asked, more: Sequence[Problem] = ()) -> Match:
    """Compare the weights of a checkpoint with a template.

    Arguments:
        ckpt: the checkpoint.
        template: what the model expects.
        asked: what to let through.
        more: problems that were found elsewhere (the optimizer's), for the same report.
    """
    held = found_by_key(ckpt)
    arrays = {name: array for name, (array, _) in held.items()}
    if asked.strip_prefix:
        arrays = _stripped(arrays, asked.strip_prefix)
    found = {name: array.spec for name, array in arrays.items()}
    expected = expected_by_key(template)
    optional = _optional(template, found)
    roles = {name: role for name, (_, role) in held.items()}
    comparison = compared(found, expected, optional.values(), roles)
    differences = (*comparison.problems, *more)
    waived = tuple(p for p in differences if _is_waived(p, asked))
    problems = tuple(p for p in differences if not _is_waived(p, asked)) if waived else differences
    report = ValidationReport(
        ckpt.path or "the checkpoint", template.title, len(comparison.matched), problems, waived
    )
    sources = {
        name: arrays[comparison.through.get(name, name)]
        for name in (*comparison.matched, *(p.name for p in waived if p.kind == "dtype"))
    }
    for problem in waived:
        if problem.kind == "tied":  # the other name fills both
            sources.pop(problem.name, None)
    sources |= {name: arrays[there] for name, there in optional.items()}
    if problems:
        report = explained(report, ckpt, template, found, expected, asked)
    return Match(report, sources, {**expected, **found, **{problem.name: None for problem in more}})


def _optional(template: Template, found: Mapping[str, ArraySpec]) -> dict[str, str]:
    """What the checkpoint holds of what it may lack: the name in the model, and the one it has there.

    The words of a random key stand below the key, or in its place where a file keeps them as a plain array.
    """
    names = [join_name(path) for path in template.optional]
    pairs = [(name, there) for name in names for there in (name, name.removesuffix("/data"))]
    return {name: there for name, there in reversed(pairs) if there in found}


def _stripped(arrays: Mapping[str, LazyArray], prefix: str) -> dict[str, LazyArray]:
    renamed = without_prefix(arrays, prefix.replace(".", "/").strip("/"))
    if not renamed:
        raise UsageError(f"no name in the checkpoint begins with {prefix!r}")
    return {renamed.get(name, name): array for name, array in arrays.items()}


def _is_waived(problem: Problem, asked: Asked) -> bool:
    if asked.partial and matches(problem.name, asked.partial):
        return True
    if problem.kind != "dtype" or asked.dtypes == "exact":
        return False
    assert isinstance(problem.found, ArraySpec) and isinstance(problem.expected, ArraySpec)
    source, target = problem.found.dtype, problem.expected.dtype
    if (
        is_float(source) != is_float(target)
        or is_complex(source) != is_complex(target)
        or "bool" in (source, target)
    ):
        return False
    return asked.dtypes == "cast" or bool(np.can_cast(to_numpy(source), to_numpy(target), "safe"))


# What explains the differences.


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
        remedies=remedies_for(ckpt, template, report.problems, prefix, fields, bool(foreign)),
    )


_MOST_NOTES: Final = 8


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
    optional = _optional(template, renamed).values()
    left = [p for p in compared(renamed, wanted, optional).problems if not _is_waived(p, asked)]
    return Prefix(*pair, tuple(left))


def _copies_note(ckpt: Checkpoint) -> list[str]:
    names = list(ckpt.ema)
    return [f"it also holds other copies of the weights: {', '.join(names)} (weights=...)"] if names else []
