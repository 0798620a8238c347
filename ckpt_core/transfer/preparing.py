"""From what a transfer is asked for to the plan that it applies: given rules first, the rest found."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ckpt_core.casting import dtype_named
from ckpt_core.errors import UsageError
from ckpt_core.framework import Slot, Template
from ckpt_core.keypath import join_name, split_name
from ckpt_core.select import matches
from ckpt_core.transfer.binding import Step, bind, names_like
from ckpt_core.transfer.bookkeeping import bookkeeping_rules
from ckpt_core.transfer.ops import Initial, Resize, Skip
from ckpt_core.transfer.patterns import literal, parse_pattern
from ckpt_core.transfer.plan import PROVEN, Evidence, Rule, TransferPlan
from ckpt_core.transfer.reversing import reverse_plan
from ckpt_core.transfer.subtrees import Path, found_part, names_outside, placed, root_of, subtree
from ckpt_core.transfer.toml import read_plan

__all__ = ["Prepared", "Request", "found_plan", "prepared", "request_of"]


Anchors = list[tuple[str, str]]


@dataclass(frozen=True)
class Request:
    """What a transfer is asked for besides its source and its target; see `transfer`."""

    rules: TransferPlan | None = None
    select: tuple[str, ...] = ()
    into: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    resize: Mapping[str, str] = field(default_factory=dict)
    reverse: bool = False
    cast: str | None = None


def request_of(
    rules: TransferPlan | str | os.PathLike[str] | None = None,
    select: Sequence[str] | str = (),
    into: Sequence[str] | str = (),
    skip: Sequence[str] | str = (),
    resize: Mapping[str, str] | None = None,
    reverse: bool = False,
    cast: str | None = None,
) -> Request:
    """Return a request from arguments as people give them: one text or several, a plan or its path."""
    return Request(
        read_plan(rules) if isinstance(rules, (str, os.PathLike)) else rules,
        _texts(select),
        _texts(into),
        _texts(skip),
        dict(resize or {}),
        reverse,
        None if cast is None else dtype_named(cast),
    )


def _texts(value: Sequence[str] | str) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@dataclass(frozen=True)
class Prepared:
    """The plan of a transfer, and what it leaves alone.

    Arguments:
        plan: the rules.
        outside: the names of sources that were not selected.
        kept: the names of slots in no part that is filled.
        selected: the name of the part of the source that was found, or "".
        parts: the names of the parts of the target that are filled; none where it is the whole.
    """

    plan: TransferPlan
    outside: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    selected: str = ""
    parts: tuple[str, ...] = ()


def prepared(request: Request, source: Template, target: Template) -> Prepared:
    """Return the plan that a request comes to: its own rules, and for what they leave open those that are found.

    Raises:
        UsageError: a pattern matches nothing, or no alternative of `select` is there.
        PlanError: a plan cannot be turned round.
    """
    sources, slots = source.by_name(), target.by_name()
    part = found_part(request.select, source) if request.select else ()
    parts = [found_part((text,), target) for text in request.into] or [()]
    outside, kept = names_outside(sources, [part]), names_outside(slots, parts)
    plan = _given(request, source, target).with_rules(
        *_skips(
            request.skip,
            [n for n in sources if n not in set(outside)],
            [n for n in slots if n not in set(kept)],
        ),
        *_resizes(request.resize, slots),
    )
    known: list[tuple[Template, Anchors, TransferPlan]] = []
    for below in parts:
        plan = _completed(plan, source, target, part, below, known)
    taken, given = _spoken_for(plan, source, target)
    done = taken | set(outside), given | set(kept)
    plan = plan.with_rules(*bookkeeping_rules(plan, source, target, done))
    names = tuple(join_name(below) for below in parts if below)
    return Prepared(plan, tuple(outside), tuple(kept), join_name(part), names)


def _given(request: Request, source: Template, target: Template) -> TransferPlan:
    """The rules that the request brings, in the direction in which they are applied."""
    if not request.reverse:
        return request.rules or TransferPlan()
    there = request.rules or found_plan(target, source)
    return reverse_plan(there, {slot.name: slot.spec for slot in target.slots}, source.by_name())


def _completed(
    plan: TransferPlan,
    source: Template,
    target: Template,
    part: Path,
    below: Path,
    known: list[tuple[Template, Anchors, TransferPlan]],
) -> TransferPlan:
    """A plan with what is found for one part of the target, beside what its own rules have.

    The search sees all that is not skipped, because what the rules have is context for the rest; then it sees what is
    left over alone. `known` holds what was found for parts that are alike.
    """
    ends = tuple(rule for rule in plan.rules if not rule.source or not rule.target)
    roots = root_of(source, part), root_of(target, below)
    for sees_all in (True, False):
        seen = TransferPlan(ends) if sees_all else plan
        taken, given = _spoken_for(seen, source, target, below)
        ours, theirs = subtree(source, part, taken), subtree(target, below, given)
        open_sources, open_slots = _spoken_for(plan, source, target, below)
        some_left = all(
            any(join_name((*at, *slot.path)) not in spoken for slot in side.slots)
            for at, side, spoken in zip(roots, (ours, theirs), (open_sources, open_slots), strict=True)
        )
        if not some_left:
            break
        anchors = _anchors(plan, source, target, part, below)
        found = next((found for *seen_by, found in known if seen_by == [theirs, anchors]), None)
        if found is None:
            found = found_plan(ours, theirs, anchors)
            known.append((theirs, anchors, found))
        plan = _merged(plan, _beside(placed(found, *roots), source, target, open_sources, open_slots))
    return plan


def _anchors(plan: TransferPlan, source: Template, target: Template, part: Path, below: Path) -> Anchors:
    """What the rules of a plan bring together one to one, by names within the parts."""
    from ckpt_core.transfer.matching import anchors_of

    steps = bind(plan, {slot.name: slot.spec for slot in source.slots}, target.by_name()).steps
    ends = [(split_name(one), split_name(other)) for one, other in anchors_of(steps)]
    depths = len(root_of(source, part)), len(root_of(target, below))
    return [
        (join_name(one[depths[0] :]), join_name(other[depths[1] :]))
        for one, other in ends
        if one[: len(part)] == part and other[: len(below)] == below
    ]


def _beside(
    plan: TransferPlan, source: Template, target: Template, taken: set[str], given: set[str]
) -> TransferPlan:
    """The part of a plan that touches nothing which others have."""
    sources, slots = {slot.name: slot.spec for slot in source.slots}, target.by_name()
    steps: dict[int, list[Step]] = {}
    for step in bind(plan, sources, slots).steps:
        steps.setdefault(id(step.rule), []).append(step)
    rules: list[Rule] = []
    for rule in plan.rules:
        mine = steps.get(id(rule), [])
        free = [step for step in mine if not taken & set(step.sources) and not given & set(step.targets)]
        rules += [rule] if len(free) == len(mine) else [step.alone() for step in free]
    unsettled = tuple(
        line
        for line in plan.unsettled
        if not any(names_like(text, taken) for text in line.source)
        and not any(names_like(text, given) for text in line.target)
    )
    return replace(plan, rules=tuple(rules), unsettled=unsettled)


def _spoken_for(
    plan: TransferPlan, source: Template, target: Template, below: Path = ()
) -> tuple[set[str], set[str]]:
    """The sources and the slots that rules or unsettled lines of a plan have.

    A source that goes into another part of the target than `below` is free for this one.
    """
    bound = bind(plan, {slot.name: slot.spec for slot in source.slots}, target.by_name())
    here = [
        step
        for step in bound.steps
        if not step.targets or any(split_name(name)[: len(below)] == below for name in step.targets)
    ]
    taken = {name for step in here for name in step.sources}
    given = {name for step in bound.steps for name in step.targets}
    sources, slots = [slot.name for slot in source.slots], target.by_name()
    for line in plan.unsettled:
        found = {name for text in line.target for name in names_like(text, slots)}
        given |= found
        if not found or any(split_name(name)[: len(below)] == below for name in found):
            taken |= {name for text in line.source for name in names_like(text, sources)}
    return taken, given


def _skips(patterns: Iterable[str], sources: Sequence[str], slots: Sequence[str]) -> list[Rule]:
    rules = []
    known: tuple[set[str], set[str]] = (set(), set())  # patterns may overlap
    for pattern in patterns:
        found = [[name for name in names if matches(name, (pattern,))] for names in (sources, slots)]
        ours, theirs = (
            [literal(split_name(name)) for name in names if name not in before]
            for names, before in zip(found, known, strict=True)
        )
        for names, before in zip(found, known, strict=True):
            before.update(names)
        if not any(found):
            below = any(matches(name, (f"{pattern}/**",)) for name in (*sources, *slots))
            there = ", ".join(dict.fromkeys((*sources[:3], *slots[:3])))
            raise UsageError(
                f"the pattern {pattern!r} of skip= matches nothing",
                remedy=f"What is below it is {pattern + '/**'!r}."
                if below
                else f"There is, for example: {there}.",
            )
        rules += [Rule(tuple(ours), (), (Skip("by request"),))] if ours else []
        rules += [Rule((), tuple(theirs), (Initial("by request"),))] if theirs else []
    return rules


def _resizes(resize: Mapping[str, str], slots: Mapping[str, Slot]) -> list[Rule]:
    rules = []
    for target, origin in resize.items():
        name = parse_pattern(target).fill({})
        if name not in slots:
            raise UsageError(f"resize= names {target}, and the target has no such slot")
        rules.append(Rule((origin,), (target,), (Resize(slots[name].spec.shape),)))
    return rules


def _merged(plan: TransferPlan, other: TransferPlan) -> TransferPlan:
    return replace(
        plan,
        rules=(*plan.rules, *other.rules),
        unsettled=(*plan.unsettled, *other.unsettled),
        conventions={**other.conventions, **plan.conventions},
        source_framework=plan.source_framework or other.source_framework,
        target_framework=plan.target_framework or other.target_framework,
    )


def found_plan(source: Template, target: Template, anchors: Anchors | None = None) -> TransferPlan:
    """Return a plan between two templates: the identity where both have the same names, else what matching finds."""
    same = _identity(source, target)
    if same is not None:
        return same
    from ckpt_core.transfer.matching import find_plan

    return find_plan(source, target, anchors or [])


def _identity(source: Template, target: Template) -> TransferPlan | None:
    """The plan that keeps every name, where one side has all names of the other and no framework speaks against it."""
    if source.framework and target.framework and source.framework != target.framework:
        return None
    ours = {slot.name: slot.spec.shape for slot in source.slots}
    theirs = {slot.name: slot.spec.shape for slot in target.slots}
    few, many = sorted((ours, theirs), key=len)
    if any(many.get(name) != shape for name, shape in few.items()):
        return None
    why = Evidence("name", "both sides have the same names and shapes")
    dotted = source.framework == target.framework == "torch"
    names = [literal(slot.path, dotted=dotted) for slot in target.slots if slot.name in few]
    rules = tuple(Rule((name,), (name,), (), PROVEN, (why,)) for name in names)
    return TransferPlan(rules, (), {}, source.framework, target.framework)
