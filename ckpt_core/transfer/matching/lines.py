"""The lines of a plan: rules for what is settled, with their op chains, and open lines for the rest."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from types import MappingProxyType
from typing import Final

from ckpt_core.framework import Slot, Template
from ckpt_core.transfer.matching.decisions import Decision, decide
from ckpt_core.transfer.matching.families import Family, numbers_in, split
from ckpt_core.transfer.matching.folding import Names, folded
from ckpt_core.transfer.matching.pairing import Pairing, steps_of
from ckpt_core.transfer.matching.rounds import Component, components
from ckpt_core.transfer.matching.state import Match, Search
from ckpt_core.transfer.plan import GIVEN, PROVEN, STRONG, Candidate, Evidence, Rule, TransferPlan, Unsettled
from ckpt_core.transfer.unlearned import is_unlearned

__all__ = ["plan_of"]

Path = tuple[str, ...]

_FINEST: Final = 3
_MOST: Final = 8
"""More candidates than these are not written out."""
_SHOWN: Final = 3


class Lines:
    """Makes the lines of a plan between two templates."""

    def __init__(self, search: Search, source: Template, target: Template) -> None:
        self._styles = search.styles
        self._names = (
            Names((slot.path for slot in source.slots), dotted=search.styles[0] == "torch"),
            Names((slot.path for slot in target.slots), dotted=search.styles[1] == "torch"),
        )

    def rules(
        self, pairing: Pairing, way: str, evidence: tuple[Evidence, ...], confidence: str = STRONG
    ) -> list[Rule]:
        """Return the rules of a pairing: one for each step, or more where the pairs do not fold."""
        each = [steps_of(pair, way, pairing, self._styles) for pair in pairing.pairs]
        rules = []
        for steps in zip(*each, strict=True):
            for ops in dict.fromkeys(step.ops for step in steps):
                alike = [step for step in steps if step.ops == ops]
                sources = [tuple(slot.path for slot in step.sources) for step in alike]
                targets = [tuple(slot.path for slot in step.targets) for step in alike]
                for ours, theirs in self._folded(sources, targets, pairing.across):
                    rules.append(Rule(tuple(ours), tuple(theirs), ops, confidence, evidence))
        return rules

    def _folded(
        self, sources: list[tuple[Path, ...]], targets: list[tuple[Path, ...]], across: str
    ) -> list[tuple[list[str], list[str]]]:
        found = folded(sources, targets, self._names, gathers=bool(across)) if len(sources) > 1 else None
        if found:
            return [found]
        stacks = targets if across == "stack" else sources if across else range(len(sources))
        grouped: dict[object, tuple[dict[str, None], dict[str, None]]] = {}
        for ours, theirs, stack in zip(sources, targets, stacks, strict=True):
            names = grouped.setdefault(stack, ({}, {}))
            for side, (paths, known) in enumerate(zip((ours, theirs), names, strict=True)):
                known.update(dict.fromkeys(self._names[side].literal(path) for path in paths))
        return [(list(ours), list(theirs)) for ours, theirs in grouped.values()]

    def source_name(self, slot: Slot) -> str:
        """Return the name of a source in the plan's spelling."""
        return self._names[0].literal(slot.path)

    def target_name(self, slot: Slot) -> str:
        """Return the name of a slot in the plan's spelling."""
        return self._names[1].literal(slot.path)


def plan_of(search: Search, source: Template, target: Template) -> TransferPlan:
    """Return the plan that a finished search amounts to, its lines in the target's order."""
    lines = Lines(search, source, target)
    settled: list[tuple[int, Rule]] = []
    unsettled: list[tuple[int, Unsettled]] = []
    decided = list(zip(search.matches, decide(search), strict=True))
    for match, decision in decided:
        position = match.target.first.position
        if decision.way is None:
            unsettled.append((position, _undecided(match, decision, lines)))
        else:
            why = (decision.evidence,) if decision.evidence else ()
            evidence = (*_types(match), *match.evidence, *why)
            settled += [
                (position, rule)
                for rule in lines.rules(match.pairing, decision.way, evidence, _confidence(match))
            ]
    spare = _spare(search, lines)
    unsettled += _misnumbered(search, lines)
    left = search.targets
    for sources, targets in _groupings(search.sources, search.targets):
        if not left:
            break
        search.sources, search.targets = sources, targets(left)
        found = components(search)
        unsettled += [line for component in found for line in _open(component, lines)]
        known = {id(family) for component in found for family in component.targets}
        left = [family for family in search.targets if id(family) not in known]
    unsettled += [
        (family.first.position, _orphan(family, lines, spare))
        for family in left
        if not all(is_unlearned(slot) for unit in family.units.values() for slot in unit.slots)
    ]
    return TransferPlan(
        tuple(rule for _, rule in sorted(settled, key=lambda line: line[0])),
        tuple(line for _, line in sorted(unsettled, key=lambda line: line[0])),
        _conventions(match for match, decision in decided if decision.way),
        source.framework,
        target.framework,
    )


def _groupings(
    sources: list[Family], targets: list[Family]
) -> Iterator[tuple[list[Family], Callable[[list[Family]], list[Family]]]]:
    """The ways to look for what may go into a slot: with the numbers of names as those of blocks, then block by block.

    Each is the families of the source, and what makes those of the target.
    """
    for listed in ((False, False), (True, False), (False, True)):
        yield split(sources, listed=listed[0]), functools.partial(split, listed=listed[1])
    most = [range(min(_FINEST, numbers_in(side)) + 1) for side in (sources, targets)]
    for fine in sorted(product(*most), key=sum)[1:]:
        yield split(sources, fine[0]), functools.partial(split, fine=fine[1])


def _conventions(matches: Iterable[Match]) -> dict[str, str]:
    """What neither names nor shapes show, and is assumed because everybody does it so."""
    forms = {"pack" if _has_packs(match) else match.pairing.form for match in matches}
    known = {
        "pack": ("packed query, key and value", "one block each, in this order"),
        "cut": (
            "layers that the frameworks cut up differently",
            "gates and projections in the order of the table of layers",
        ),
    }
    return dict(text for form, text in known.items() if form in forms)


def _has_packs(match: Match) -> bool:
    """Say whether one side has an axis for what the other packs in blocks."""
    ends = match.source.first, match.target.first
    shapes = [len(unit.main.spec.shape) for unit in ends]
    return shapes[0] != shapes[1] and any(unit.packed for unit in ends)


def _confidence(match: Match) -> str:
    alone = any(
        evidence.kind == "shape" and evidence.text.startswith("the only") for evidence in match.evidence
    )
    return PROVEN if alone and len(match.pairing.ways) == 1 else STRONG


def _types(match: Match) -> tuple[Evidence, ...]:
    types = (match.source.first.layer_type, match.target.first.layer_type)
    return (Evidence("type", f"{types[0]} -> {types[1]}"),) if all(types) else ()


def _all_names(family: Family, name: Callable[[Slot], str]) -> tuple[str, ...]:
    """The names of all arrays, the main one of each unit first, so that both sides are in one order."""
    return tuple(
        name(slot)
        for unit in family.units.values()
        for slot in sorted(unit.slots, key=lambda slot: slot is not unit.main)
    )


def _undecided(match: Match, decision: Decision, lines: Lines) -> Unsettled:
    """A line whose source is known, and not which way it goes in."""
    return Unsettled(
        _all_names(match.source, lines.source_name),
        _all_names(match.target, lines.target_name),
        decision.reason,
        decision.settled_by,
        tuple(Candidate(tuple(lines.rules(match.pairing, way, (), GIVEN)), way) for way in decision.open),
    )


def _misnumbered(search: Search, lines: Lines) -> list[tuple[int, Unsettled]]:
    """Lines of layers and blocks whose numbers other lines contradict, each number for itself."""
    left = search.sources, search.targets
    search.sources, search.targets = (
        split([getattr(match, side) for match in search.misnumbered], _FINEST)
        for side in ("source", "target")
    )
    reason = "other lines contradict the order of the numbers, and nothing else tells which is meant"
    found = [
        (place, replace(line, reason=reason) if line.candidates else line)
        for component in components(search)
        for place, line in _open(component, lines)
    ]
    search.sources, search.targets = left
    return found


def _open(component: Component, lines: Lines) -> Iterator[tuple[int, Unsettled]]:
    """Lines whose slots have candidates that nothing tells apart."""
    for column, family in enumerate(component.targets):
        rows = [row for row, other in component.fits if other == column]
        if not rows:
            yield family.first.position, _orphan(family, lines)
            continue
        candidates = [
            Candidate(
                tuple(lines.rules(component.fits[row, column], way, (), GIVEN)), component.sources[row].name
            )
            for row in rows[:_MOST]
            for way in component.fits[row, column].ways[:1]
        ]
        yield (
            family.first.position,
            Unsettled(
                tuple(name for row in rows for name in _all_names(component.sources[row], lines.source_name)),
                _all_names(family, lines.target_name),
                f"{len(rows)} sources fit {_shape(family)}, and nothing tells which is meant"
                if len(rows) > 1
                else f"one source fits {_shape(family)}, and nothing says that it is meant",
                "One of the candidates as a rule, or outputs of both models.",
                tuple(candidates),
            ),
        )


def _spare(search: Search, lines: Lines) -> dict[tuple[int, ...], list[str]]:
    """The names of what no line takes, by their sizes in any order."""
    found: dict[tuple[int, ...], list[str]] = {}
    for family in search.sources:
        for unit in family.units.values():
            for slot in unit.slots:
                found.setdefault(tuple(sorted(slot.spec.shape)), []).append(lines.source_name(slot))
    return found


def _orphan(
    family: Family, lines: Lines, spare: Mapping[tuple[int, ...], list[str]] = MappingProxyType({})
) -> Unsettled:
    """A line without a candidate; it names what has its size in layers that have other arrays."""
    alike = spare.get(tuple(sorted(family.first.main.spec.shape)), [])
    shown = ", ".join(alike[:_SHOWN]) + (", ..." if alike[_SHOWN:] else "")
    return Unsettled(
        (),
        _all_names(family, lines.target_name),
        f"no layer that is left has the same arrays; of the size {_shape(family)}: {shown}"
        if alike
        else f"no source that is left fits {_shape(family)}",
        'A rule, or ops = ["initial"] to keep the target\'s own values.',
    )


def _shape(family: Family) -> str:
    return "x".join(map(str, family.first.main.spec.shape)) or "a scalar"
