"""Binding: the patterns of a plan met with the names that are there, and everything that does not fit, at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ckpt_core.arrays import ArraySpec
from ckpt_core.errors import UsageError
from ckpt_core.framework import Slot
from ckpt_core.keypath import split_name
from ckpt_core.transfer.ops import Filling, Skip, chain_specs
from ckpt_core.transfer.patterns import Pattern, literal, parse_pattern
from ckpt_core.transfer.plan import Rule, TransferPlan, Unsettled

__all__ = ["Bound", "Problem", "Step", "bind", "names_like", "open_lines"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not fit.

    Arguments:
        kind: "unmatched" (a rule that matched nothing), "claimed twice", "missing" (a slot without a source),
            "unexpected" (a source without a slot), "shape", "op" or "unsettled".
        place: the slot, the source or the rule concerned.
        text: what is wrong, as a clause.
        remedy: what to do about it, as a sentence, or "".
    """

    kind: str
    place: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.text} @ {self.place}"


@dataclass(frozen=True, slots=True)
class Step:
    """A rule for one value of its captures: these sources, through its ops, into these slots; in order."""

    rule: Rule
    sources: tuple[str, ...]
    targets: tuple[str, ...]

    def alone(self) -> Rule:
        """Return the rule for this step and no other."""
        return replace(self.rule, source=_patterns(self.sources), target=_patterns(self.targets))


@dataclass
class Bound:
    """A plan bound to names.

    Arguments:
        steps: what is to be done, in the order of the rules.
        problems: what does not fit.
        unused: sources that no step takes.
        unfilled: slots that no step fills.
        open: names on either side that an unsettled line is about.
    """

    steps: list[Step] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    unfilled: list[str] = field(default_factory=list)
    open: set[str] = field(default_factory=set)


def bind(plan: TransferPlan, sources: Mapping[str, ArraySpec], slots: Mapping[str, Slot]) -> Bound:
    """Bind a plan to the arrays of a source and the slots of a target.

    Rules that skip a source or give a slot another value come first: what they name is out of reach of the others.

    Arguments:
        plan: the rules; unsettled lines that they do not settle are problems.
        sources: the shapes and dtypes that are there, by name.
        slots: what the target expects, by name.
    """
    bound = Bound()
    source_names, slot_names = _Names(sources), _Names(slots)
    ends = [rule for rule in plan.rules if _is_end(rule)]
    for rule in ends:
        _bind_end(rule, source_names, slot_names, bound)
    skipped = {name for step in bound.steps for name in step.sources}
    settled = {name for step in bound.steps for name in step.targets}
    for rule in plan.rules:
        if not _is_end(rule):
            _bind_rule(rule, source_names, slot_names, (skipped, settled), bound)
    _check_claims(bound)
    for step in bound.steps:
        _check_specs(step, sources, slots, bound)
    taken = {name for step in bound.steps for name in step.sources}
    given = {name for step in bound.steps for name in step.targets}
    bound.unused = [name for name in sources if name not in taken]
    bound.unfilled = [name for name in slots if name not in given]
    for line in open_lines(plan, taken, given):
        place = ", ".join(line.target or line.source)
        bound.problems.append(Problem("unsettled", place, line.reason, line.settled_by))
        bound.open.update(name for text in line.source for name in names_like(text, bound.unused))
        bound.open.update(name for text in line.target for name in names_like(text, bound.unfilled))
    return bound


def open_lines(plan: TransferPlan, taken: set[str], given: set[str]) -> list[Unsettled]:
    """Return the unsettled lines that no rule settles.

    Arguments:
        plan: the plan.
        taken: the names of the sources that rules take.
        given: the names of the slots that rules fill.
    """

    def settled(line: Unsettled) -> bool:
        texts, known = (line.target, given) if line.target else (line.source, taken)
        return any(names_like(text, known) for text in texts)

    return [line for line in plan.unsettled if not settled(line)]


def names_like(text: str, names: Collection[str]) -> list[str]:
    """Return those of some names that a pattern fits."""
    pattern = parse_pattern(text)
    if not pattern.captures:
        name = pattern.fill({})
        return [name] if name in names else []
    return [name for name in names if pattern.match(name) is not None]


def _is_end(rule: Rule) -> bool:
    return not rule.source or not rule.target


def _bind_end(rule: Rule, sources: _Names, slots: _Names, bound: Bound) -> None:
    """Bind a rule with one side: skip, initial or constant."""
    place = _place(rule)
    fits = len(rule.ops) == 1 and isinstance(rule.ops[0], Skip if rule.source else Filling)
    if not fits:
        wanted = "skip" if rule.source else "initial or constant"
        bound.problems.append(
            Problem(
                "op", place, f"a rule without a {'target' if rule.source else 'source'} has one op: {wanted}"
            )
        )
        return
    side, names = ("source", sources) if rule.source else ("target", slots)
    for pattern in rule.source or rule.target:
        found = [name for name, _ in names.matching(parse_pattern(pattern))]
        if not found:
            bound.problems.append(
                Problem("unmatched", place, f"no {side} has the name {pattern}", names.nearest(pattern))
            )
        for name in found:
            bound.steps.append(Step(rule, (name,), ()) if rule.source else Step(rule, (), (name,)))


def _bind_rule(
    rule: Rule, sources: _Names, slots: _Names, gone: tuple[set[str], set[str]], bound: Bound
) -> None:
    """Bind a rule with two sides, for every value of the captures that both have."""
    from_patterns = [parse_pattern(text) for text in rule.source]
    to_patterns = [parse_pattern(text) for text in rule.target]
    place = _place(rule)
    for patterns in (from_patterns, to_patterns):
        if len({pattern.captures for pattern in patterns}) > 1:
            bound.problems.append(Problem("op", place, "the patterns of one side have different captures"))
            return
    shared = from_patterns[0].captures & to_patterns[0].captures
    taken = _grouped(from_patterns, sources, shared, gone[0])
    if not taken:
        remedies = [sources.nearest(text) for text in rule.source]
        bound.problems.append(
            Problem("unmatched", place, f"no source has the name {' or '.join(rule.source)}", remedies[0])
        )
        return
    scattered = to_patterns[0].captures - shared
    given = _grouped(to_patterns, slots, shared, gone[1]) if scattered else {}
    for key, group in taken.items():
        values = dict(key)
        missing = [
            p.fill({**values, **dict(rest)})
            for rest, names in group.items()
            for p in from_patterns
            if p not in names
        ]
        if missing:
            bound.problems += [
                Problem("missing", name, "a rule takes it, and the source has none", place)
                for name in missing
            ]
            continue
        names = tuple(names[p] for names in group.values() for p in from_patterns)
        if scattered:
            targets = tuple(
                names[p] for names in given.get(key, {}).values() for p in to_patterns if p in names
            )
        else:
            targets = tuple(pattern.fill(values) for pattern in to_patterns)
        if set(targets) <= gone[1] and targets:
            continue  # these slots keep a value of their own: the sources are left over, and reported as such
        absent = [name for name in targets if name not in slots.names]
        if absent or not targets:
            text = f"the target has no {', '.join(absent) or ' or '.join(rule.target)}"
            bound.problems.append(Problem("unexpected", ", ".join(names), text, _nearest_of(slots, absent)))
            continue
        bound.steps.append(Step(rule, names, targets))


_Key = tuple[tuple[str, str], ...]


def _grouped(
    patterns: list[Pattern], names: _Names, shared: frozenset[str], gone: set[str]
) -> dict[_Key, dict[_Key, dict[Pattern, str]]]:
    """The names that fit, by the values of the shared captures and then of the others, in numeric order."""
    found: dict[_Key, dict[_Key, dict[Pattern, str]]] = {}
    for pattern in patterns:
        for name, values in names.matching(pattern):
            if name in gone:
                continue
            key = tuple(sorted((k, v) for k, v in values.items() if k in shared))
            rest = tuple(sorted((k, v) for k, v in values.items() if k not in shared))
            found.setdefault(key, {}).setdefault(rest, {})[pattern] = name
    return {
        key: dict(sorted(found[key].items(), key=lambda item: _numeric(item[0])))
        for key in sorted(found, key=_numeric)
    }


def _numeric(key: _Key) -> list[tuple[bool, int, str]]:
    return [(True, int(value), value) if value.isdecimal() else (False, 0, value) for _, value in key]


def _check_claims(bound: Bound) -> None:
    """Report slots that two rules claim."""
    claims: dict[str, list[Step]] = {}
    for step in bound.steps:
        for name in step.targets:
            claims.setdefault(name, []).append(step)
    for name, steps in claims.items():
        if len(steps) > 1:
            origins = " and by ".join(", ".join(step.sources) or str(step.rule.ops[0]) for step in steps)
            text = f"claimed by {origins}"
            bound.problems.append(Problem("claimed twice", name, text, "Keep one of the rules."))


def _check_specs(
    step: Step, sources: Mapping[str, ArraySpec], slots: Mapping[str, Slot], bound: Bound
) -> None:
    if _is_end(step.rule):
        return
    place = ", ".join(step.targets)
    try:
        after = chain_specs(step.rule.ops, tuple(sources[name] for name in step.sources))
    except UsageError as error:
        bound.problems.append(Problem("op", place, error.reason, f"From {', '.join(step.sources)}."))
        return
    if len(after) != len(step.targets):
        text = f"{len(step.sources)} sources make {len(after)} arrays for {len(step.targets)} slots"
        hint = f'Independent copies: ops = ["copy({len(step.targets)})"].' if len(after) == 1 else ""
        bound.problems.append(Problem("op", place, text, hint))
        return
    for name, spec in zip(step.targets, after, strict=True):
        if spec.shape != slots[name].spec.shape:
            text = f"{list(spec.shape)} from {', '.join(step.sources)}, where the target has {list(slots[name].spec.shape)}"
            bound.problems.append(Problem("shape", name, text))


def _patterns(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(literal(split_name(name)) for name in names)


def _place(rule: Rule) -> str:
    return f"{', '.join(rule.source) or '(none)'} -> {', '.join(rule.target) or '(none)'}"


# Names, found by pattern.


_NUMBER: Final = re.compile(r"\d+")
_CAPTURE: Final = re.compile(r"\{[^{}]*\}")


class _Names:
    """Names by what is left of them without their numbers, so that a pattern meets few of them."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = dict.fromkeys(names)
        self._by_skeleton: dict[str, list[str]] = {}
        for name in self.names:
            self._by_skeleton.setdefault(_NUMBER.sub("#", name), []).append(name)

    def matching(self, pattern: Pattern) -> list[tuple[str, dict[str, str]]]:
        """Return the names that a pattern fits, with its captures."""
        if not pattern.captures:
            name = pattern.fill({})
            return [(name, {})] if name in self.names else []
        skeleton = pattern.skeleton
        candidates = self.names if skeleton is None else self._by_skeleton.get(skeleton, ())
        return [(name, values) for name in candidates if (values := pattern.match(name)) is not None]

    def nearest(self, text: str) -> str:
        """Return a sentence that names what is most like a name, or "".

        In a rule, an asterisk alone is a letter like others, which is rarely meant.
        """
        import difflib

        if "*" in _CAPTURE.sub("", text):
            return "In a rule, {x*} stands for text within a segment, and {x**} for whole segments."
        close = difflib.get_close_matches(text, list(self.names)[:20_000], 3, 0.5)
        return f"There is: {', '.join(close)}." if close else ""


def _nearest_of(names: _Names, absent: list[str]) -> str:
    return names.nearest(absent[0]) if absent else ""
