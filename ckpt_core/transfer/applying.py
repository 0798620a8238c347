"""Applying a plan: lazy arrays for every slot, and the receipt; or every problem at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ckpt_core.arrays import ArraySpec, LazyArray
from ckpt_core.casting import cast as cast_array
from ckpt_core.errors import CheckpointError, PlanError
from ckpt_core.framework import Template
from ckpt_core.keypath import join_name
from ckpt_core.transfer import views
from ckpt_core.transfer.binding import Bound, Problem, Step, bind
from ckpt_core.transfer.ops import Filling, Resize
from ckpt_core.transfer.ops.ends import NO_VALUES
from ckpt_core.transfer.plan import TransferPlan
from ckpt_core.transfer.receipt import Destination, Filled, Receipt, Taken
from ckpt_core.transfer.sides import Target

__all__ = ["Applied", "apply_plan", "check_plan", "raise_problems"]

_SHOWN: Final = 20


@dataclass(frozen=True)
class Applied:
    """The arrays of every slot by name, and the receipt."""

    arrays: Mapping[str, LazyArray]
    receipt: Receipt


def check_plan(
    plan: TransferPlan,
    sources: Mapping[str, LazyArray],
    template: Template,
    *,
    outside: Iterable[str] = (),
    kept: Iterable[str] = (),
) -> Bound:
    """Bind a plan to a source and a target, and add what a transfer as a whole must not leave: see `Bound`.

    What lies outside of the selection, and the slots that are kept, are out of its reach. A source is not left over
    when it is another name of an array that goes somewhere; a slot is not left empty when the target ties it to one
    that is filled, or when the model can do without it.
    """
    beyond, left = set(outside), set(kept)
    slots = {name: slot for name, slot in template.by_name().items() if name not in left}
    bound = bind(plan, {name: array.spec for name, array in sources.items() if name not in beyond}, slots)
    going = {sources[name].identity for step in bound.steps for name in step.sources if step.targets} - {None}
    ties = _ties(template)
    tied = {ties[name] for step in bound.steps for name in step.targets}
    optional = {join_name(path) for path in template.optional}
    bound.unused = [name for name in bound.unused if sources[name].identity not in going]
    bound.unfilled = [name for name in bound.unfilled if name not in optional and ties[name] not in tied]
    for name in _not_open(bound, bound.unused):
        text = f"{_text(sources[name].spec)} has no slot in the target"
        bound.problems.append(Problem("unexpected", name, text))
    for name in _not_open(bound, bound.unfilled):
        bound.problems.append(Problem("missing", name, f"{_text(slots[name].spec)} has no source"))
    return bound


def _not_open(bound: Bound, names: list[str]) -> list[str]:
    """Leave out what an unsettled line is about: it is reported once, there."""
    return [name for name in names if name not in bound.open]


def _ties(template: Template) -> dict[str, str]:
    """For each slot, the name that stands for all slots which share its array."""
    return {slot.name: slot.name if slot.tied is None else join_name(slot.tied) for slot in template.slots}


def _text(spec: ArraySpec) -> str:
    return f"{spec.dtype}{list(spec.shape)}"


def raise_problems(problems: Sequence[Problem], source: str, target: str) -> None:
    """Raise PlanError with every problem, if there is one."""
    if not problems:
        return
    lines = []
    for problem in problems[:_SHOWN]:
        lines.append(f"    {problem}")
        lines += [f"        {line}" for line in problem.remedy.splitlines()]
    if len(problems) > _SHOWN:
        lines.append(f"    and {len(problems) - _SHOWN} more")
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    raise PlanError(
        f"cannot be transferred into {target}: {count}",
        tuple(problems),
        path=source or None,
        remedy="\n".join([f"{count.capitalize()}:", *lines]),
    )


def apply_plan(
    plan: TransferPlan,
    sources: Mapping[str, LazyArray],
    target: Target,
    *,
    source: str = "the source",
    outside: Iterable[str] = (),
    kept: Iterable[str] = (),
    selected: str = "",
    parts: Sequence[str] = (),
    cast: str | None = None,
    notes: Sequence[str] = (),
) -> Applied:
    """Apply a plan: lazily, as a whole or not at all.

    Arguments:
        plan: the rules.
        sources: the source's arrays, by name.
        target: what is filled.
        source: what the source is called.
        outside: the names of sources that were not selected.
        kept: the names of slots that keep their initial values.
        selected: the part of the source that was, for the receipt.
        parts: the parts of the target that are counted apart; none counts the whole.
        cast: the floating-point dtype of what is transferred, where it is to change.
        notes: more sentences for the receipt.

    Raises:
        PlanError: a line is unsettled, a rule matches nothing, a slot is claimed twice, a source or a slot is left
            over, a shape does not fit; all of them at once.
    """
    outside, kept = set(outside), set(kept)
    bound = check_plan(plan, sources, target.template, outside=outside, kept=kept)
    raise_problems(bound.problems, source, target.template.title)
    slots = target.template.by_name()
    made: dict[str, LazyArray] = {}
    filled: dict[str, Filled] = {}
    problems: list[Problem] = []
    seen: set[Any] = set()
    for step in bound.steps:
        try:
            arrays = _results(step, sources, target, seen)
        except CheckpointError as error:
            problems.append(
                Problem("op", ", ".join(step.targets or step.sources), error.reason, error.remedy or "")
            )
            continue
        ops = tuple(map(str, step.rule.ops))
        first = step.rule.ops[0] if step.rule.ops else None
        bucket = first.name if isinstance(first, Filling) else "transferred"
        for name, array in zip(step.targets, arrays, strict=True):
            made[name] = array if cast is None or bucket != "transferred" else cast_array(array, cast)
            filled[name] = Filled(name, bucket, step.sources, ops, array.size)
    made |= {name: target.initial[name] for name in kept if name in target.initial}
    filled |= {name: Filled(name, "initial", (), (), slots[name].spec.size) for name in kept}
    ties = _ties(target.template)
    shared = {ties[name]: name for name in made}
    problems += _valueless(target, (name for name in slots if name in kept and ties[name] not in shared))
    raise_problems(problems, source, target.template.title)
    for name in slots:
        if name not in made and ties[name] in shared:
            partner = shared[ties[name]]
            made[name] = made[partner]
            filled[name] = Filled(name, "tied", (partner,), (), made[name].size)
    receipt = Receipt(
        source,
        target.template.title,
        tuple(_taken(bound, sources, outside)),
        tuple(filled[name] for name in slots if name in filled),
        _destinations(filled.values(), parts, target.template.title),
        selected,
        (*notes, *(_dtype_notes(made, target.template) if cast is None else ())),
    )
    return Applied({name: made[name] for name in slots if name in made}, receipt)


def _valueless(target: Target, names: Iterable[str]) -> list[Problem]:
    """The slots that would keep an initial value, of a target that has shapes alone."""
    optional = {join_name(path) for path in target.template.optional}
    return [Problem("missing", name, NO_VALUES) for name in names if name not in optional]


def _results(
    step: Step, sources: Mapping[str, LazyArray], target: Target, seen: set[Any]
) -> tuple[LazyArray, ...]:
    """The arrays of a step; a source that another step took already is read as an array of its own."""
    slots = target.template.by_name()
    arrays: tuple[LazyArray, ...] = ()
    for name in step.sources:
        key = sources[name].identity or name
        arrays += (views.independent(sources[name]) if key in seen else sources[name],)
        if step.targets:
            seen.add(key)
    for op in step.rule.ops:
        if isinstance(op, Filling):
            arrays = tuple(op.fill(slots[name].spec, target.initial.get(name)) for name in step.targets)
        elif isinstance(op, Resize) and op.fill == "initial":
            below = [target.initial.get(name) for name in step.targets]
            arrays = tuple(op.over(array, initial) for array, initial in zip(arrays, below, strict=True))
        else:
            arrays = op.apply(arrays)
    return arrays


def _taken(bound: Bound, sources: Mapping[str, LazyArray], outside: set[str]) -> Iterable[Taken]:
    went: dict[str, list[str]] = {}
    skipped: dict[str, str] = {}
    for step in bound.steps:
        for name in step.sources:
            if step.targets:
                went.setdefault(name, []).extend(step.targets)
            else:
                skipped[name] = str(step.rule.ops[0])
    for name, array in sources.items():
        if name in went:
            yield Taken(name, "transferred", ", ".join(went[name]), array.size)
        elif name in outside:
            yield Taken(name, "not selected", "", array.size)
        elif name in skipped:
            yield Taken(name, "skipped", skipped[name], array.size)
        else:
            yield Taken(name, "tied", "another name of a transferred array", array.size)


def _destinations(filled: Iterable[Filled], parts: Sequence[str], title: str) -> tuple[Destination, ...]:
    moved = [row for row in filled if row.bucket == "transferred"]
    if not parts:
        return (Destination(title, len(moved), sum(row.parameters for row in moved)),)
    found = []
    for part in parts:
        rows = [row for row in moved if not part or row.name == part or row.name.startswith(part + "/")]
        found.append(Destination(part or title, len(rows), sum(row.parameters for row in rows)))
    return tuple(found)


def _dtype_notes(made: Mapping[str, LazyArray], template: Template) -> list[str]:
    other = Counter(
        (made[slot.name].dtype, slot.spec.dtype)
        for slot in template.slots
        if slot.name in made and made[slot.name].dtype != slot.spec.dtype
    )
    return [
        f"{count} array{' is' if count == 1 else 's are'} {dtype} where the target has {wanted}; nothing was cast"
        for (dtype, wanted), count in other.items()
    ]
