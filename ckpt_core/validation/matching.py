"""The weights of a checkpoint compared with a template: the report, and what fills each slot."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UsageError
from ckpt_core.extra_state import extra_states
from ckpt_core.framework import OptimizerTemplate, Template
from ckpt_core.keypath import join_name
from ckpt_core.schema import Checkpoint
from ckpt_core.select import matches
from ckpt_core.tree import Record, get, walk
from ckpt_core.validation.asked import Asked
from ckpt_core.validation.leaves import compared, expected_by_key, found_by_key, optional_names
from ckpt_core.validation.names import without_prefix
from ckpt_core.validation.optimizers import OptimizerMatch, match_optimizer
from ckpt_core.validation.reasons import explained
from ckpt_core.validation.report import Problem, ValidationReport
from ckpt_core.validation.ties import tied_problems

__all__ = ["Match", "match", "match_all"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class Match:
    """A report, and what fills each slot of the model.

    Arguments:
        report: what agrees and what not.
        sources: the array of the checkpoint for each slot that one fits, by the slot's name.
        names: every name that patterns can mean.
        extra: the free-form states to put back, by name.
    """

    report: ValidationReport
    sources: Mapping[str, LazyArray]
    names: Collection[str]
    extra: Mapping[str, Any] = field(default_factory=dict)

    def check_patterns(self, patterns: Sequence[str]) -> None:
        """Raise UsageError for a pattern that fits no name at all."""
        for pattern in patterns:
            if not any(matches(name, (pattern,)) for name in self.names):
                examples = ", ".join(list(self.names)[:5])
                raise UsageError(
                    f"the pattern {pattern!r} fits no name of either side",
                    remedy=f"There is, for example: {examples}.",
                )


def match_all(
    ckpt: Checkpoint,
    template: Template,
    wanted: OptimizerTemplate | None,
    asked: Asked,
    *,
    optimizer_name: str | None = None,
    reads_ties: bool = False,
    more: Sequence[Problem] = (),
) -> tuple[Match, OptimizerMatch | None]:
    """Compare the weights, and the state of the optimizer where one is wanted, in one report.

    Arguments:
        ckpt: the checkpoint.
        template: what the model expects.
        wanted: what its optimizer expects, or None.
        asked: what to let through.
        optimizer_name: which of several saved optimizers is meant.
        more: problems that were found elsewhere, for the same report.
        reads_ties: whether to read arrays that are tied in the model and two in the checkpoint, and compare them.
    """
    found = match(ckpt, template, asked)
    loaded = None
    if wanted is not None:
        left_out = [problem.name for problem in found.report.waived if problem.kind != "dtype"]
        order = [slot.name for slot in template.slots if slot.role == "param"]
        loaded = match_optimizer(ckpt, wanted, order, left_out, optimizer_name)
    extra = extra_states(ckpt)
    if asked.strip_prefix:
        renamed = without_prefix(extra, _prefix(asked.strip_prefix))
        extra = {renamed.get(name, name): state for name, state in extra.items()}
    more = (
        *more,
        *_extra_problems(template, extra),
        *(tied_problems(template, found.sources) if reads_ties else ()),
        *(loaded.problems if loaded else ()),
    )
    found = match(ckpt, template, asked, more) if more else found
    found.check_patterns(asked.partial)
    kept = {name: extra[name] for name in template.extra if name in extra and not _class_in(extra[name])}
    return replace(found, extra=kept), loaded


def _extra_problems(template: Template, extra: Mapping[str, Any]) -> list[Problem]:
    said = "free-form state"
    problems = []
    for name in template.extra:
        held = _class_in(extra[name]) if name in extra else ""
        if name not in extra or held:
            there = f"an object of {held}, which is not made again" if held else None
            problems.append(Problem("missing", name, there, said, "buffer"))
    unexpected = [name for name in extra if name not in template.extra]
    return problems + [Problem("unexpected", name, said, None, "buffer") for name in unexpected]


def _class_in(state: Any) -> str:
    """The class of an object in a free-form state, which is data here and cannot be one again; "" for none."""
    return next((node.type_name for _, node in walk(state) if isinstance(node, Record)), "")


def match(ckpt: Checkpoint, template: Template, asked: Asked, more: Sequence[Problem] = ()) -> Match:
    """Compare the weights of a checkpoint with a template.

    Arguments:
        ckpt: the checkpoint.
        template: what the model expects.
        asked: what to let through.
        more: problems that were found elsewhere (the optimizer's), for the same report.
    """
    expected = expected_by_key(template)
    held = _below_own_key(ckpt, found_by_key(ckpt), expected)
    arrays = {name: array for name, (array, _) in held.items()}
    if asked.strip_prefix:
        arrays = _stripped(arrays, asked.strip_prefix)
    found = {name: array.spec for name, array in arrays.items()}
    optional = optional_names(template, found)
    roles = {name: role for name, (_, role) in held.items()}
    comparison = compared(found, expected, optional.values(), roles)
    differences = (*comparison.problems, *more)
    waived = tuple(p for p in differences if asked.lets_through(p))
    problems = tuple(p for p in differences if not asked.lets_through(p)) if waived else differences
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


def _below_own_key(
    ckpt: Checkpoint, held: Mapping[str, Value], expected: Collection[str]
) -> Mapping[str, Value]:
    """The weights below the key that holds all of them, where that is no key of the file but a part of the model.

    Nested, `{'net': ...}` can be a model's weights under a word for them, or those of a model that has one part,
    `net`. The file does not say which, and the model does.
    """
    places = ckpt.roles.params
    path = places[0] if len(places) == 1 and isinstance(places[0], tuple) else ()
    node = get(ckpt.tree, path)
    if not path or not isinstance(node, Mapping) or any("." in str(key) for key in node):
        return held
    if any(name in held for name in expected):
        return held
    below = {join_name((str(path[-1]),)) + f"/{name}": value for name, value in held.items()}
    return below if any(name in below for name in expected) else held


def _stripped(arrays: Mapping[str, LazyArray], prefix: str) -> dict[str, LazyArray]:
    renamed = without_prefix(arrays, _prefix(prefix))
    if not renamed:
        raise UsageError(f"no name in the checkpoint begins with {prefix!r}")
    return {renamed.get(name, name): array for name, array in arrays.items()}


def _prefix(text: str) -> str:
    return text.replace(".", "/").strip("/")
