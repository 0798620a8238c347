"""The lines of a plan: rules for what is settled, with their op chains, and open lines for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ckpt_core.framework import Slot, Template
from ckpt_core.transfer.matching.decisions import decide
from ckpt_core.transfer.matching.folding import Names, folded
from ckpt_core.transfer.matching.pairing import Pairing, pair_ops
from ckpt_core.transfer.matching.rounds import Component, components
from ckpt_core.transfer.matching.state import Match, Search
from ckpt_core.transfer.matching.units import Family
from ckpt_core.transfer.ops import Op
from ckpt_core.transfer.plan import PROVEN, STRONG, Candidate, Evidence, Rule, TransferPlan, Unsettled

__all__ = ["plan_of"]

_MOST: Final = 8
"""More candidates than these are not written out."""


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
    ) -> Iterator[Rule]:
        """Yield the rules of a pairing, one for each part, or more where they do not fold."""
        for part in pairing.pairs[0][1].parts:
            chains = [pair_ops(pair, part, way, pairing, self._styles) for pair in pairing.pairs]
            sources = [source.parts[part] for source, _ in pairing.pairs]
            targets = [target.parts[part] for _, target in pairing.pairs]
            for group in _grouped(chains):
                yield from self._folded(
                    [sources[i] for i in group],
                    [targets[i] for i in group],
                    chains[group[0]],
                    evidence,
                    confidence,
                    pairing.gathered,
                )

    def _folded(
        self,
        sources: list[Slot],
        targets: list[Slot],
        ops: tuple[Op, ...],
        evidence: tuple[Evidence, ...],
        confidence: str,
        gathered: str,
    ) -> Iterator[Rule]:
        mine, theirs = [slot.path for slot in sources], [slot.path for slot in targets]
        if gathered:
            mine, theirs = list(dict.fromkeys(mine)), list(dict.fromkeys(theirs))
        found = folded(mine, theirs, self._names) if len(sources) > 1 else None
        if found:
            yield Rule((found[0],), (found[1],), ops, confidence, evidence)
        elif gathered:
            yield Rule(
                tuple(map(self._names[0].literal, mine)),
                tuple(map(self._names[1].literal, theirs)),
                ops,
                confidence,
                evidence,
            )
        else:
            for one, other in zip(mine, theirs, strict=True):
                yield Rule(
                    (self._names[0].literal(one),),
                    (self._names[1].literal(other),),
                    ops,
                    confidence,
                    evidence,
                )

    def source_name(self, slot: Slot) -> str:
        """Return the name of a source in the plan's spelling."""
        return self._names[0].literal(slot.path)

    def target_name(self, slot: Slot) -> str:
        """Return the name of a slot in the plan's spelling."""
        return self._names[1].literal(slot.path)


def _grouped(chains: list[tuple[Op, ...]]) -> list[list[int]]:
    """The places of equal chains."""
    found: dict[tuple[Op, ...], list[int]] = {}
    for place, chain in enumerate(chains):
        found.setdefault(chain, []).append(place)
    return list(found.values())


def plan_of(search: Search, source: Template, target: Template) -> TransferPlan:
    """Return the plan that a finished search amounts to, its lines in the target's order."""
    lines = Lines(search, source, target)
    settled: list[tuple[int, Rule]] = []
    unsettled: list[tuple[int, Unsettled]] = []
    decisions = decide(search.matches)
    for place, match in enumerate(search.matches):
        decision = decisions[place]
        position = match.target.first.position
        if decision is None:
            unsettled.append((position, _undecided(match, lines)))
        else:
            way, why = decision
            evidence = (*_types(match), *match.evidence, *(() if why in match.evidence else (why,)))
            settled += [
                (position, rule) for rule in lines.rules(match.pairing, way, evidence, _confidence(match))
            ]
    for component in components(search):
        unsettled += _open(component, lines)
    known = {id(family) for component in components(search) for family in component.targets}
    unsettled += [
        (family.first.position, _orphan(family, lines))
        for family in search.targets
        if id(family) not in known
    ]
    return TransferPlan(
        tuple(rule for _, rule in sorted(settled, key=lambda line: line[0])),
        tuple(line for _, line in sorted(unsettled, key=lambda line: line[0])),
        {},
        source.framework,
        target.framework,
    )


def _confidence(match: Match) -> str:
    alone = any(
        evidence.kind == "shape" and evidence.text.startswith("the only") for evidence in match.evidence
    )
    return PROVEN if alone and len(match.pairing.ways) == 1 else STRONG


def _types(match: Match) -> tuple[Evidence, ...]:
    types = (match.source.first.layer_type, match.target.first.layer_type)
    return (Evidence("type", f"{types[0]} -> {types[1]}"),) if all(types) else ()


def _all_names(family: Family, name: object) -> tuple[str, ...]:
    return tuple(name(slot) for unit in family.units.values() for slot in unit.parts.values())  # type: ignore[operator]


def _undecided(match: Match, lines: Lines) -> Unsettled:
    """A line whose source is known, and not which way it goes in."""
    return Unsettled(
        _all_names(match.source, lines.source_name),
        _all_names(match.target, lines.target_name),
        f"{' and '.join(match.pairing.ways)} both fit {_shape(match.target)}",
        "The type of the layer, outputs of both models, or a rule.",
        tuple(Candidate(tuple(lines.rules(match.pairing, way, ())), way) for way in match.pairing.ways),
    )


def _open(component: Component, lines: Lines) -> Iterator[tuple[int, Unsettled]]:
    """Lines whose slots have candidates that nothing tells apart."""
    for column, family in enumerate(component.targets):
        rows = [row for row, other in component.fits if other == column]
        if not rows:
            yield family.first.position, _orphan(family, lines)
            continue
        candidates = [
            Candidate(tuple(lines.rules(component.fits[row, column], way, ())), component.sources[row].name)
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


def _orphan(family: Family, lines: Lines) -> Unsettled:
    return Unsettled(
        (),
        _all_names(family, lines.target_name),
        f"no source that is left fits {_shape(family)}",
        'A rule, or ops = ["initial"] to keep the target\'s own values.',
    )


def _shape(family: Family) -> str:
    return "x".join(map(str, family.first.main.spec.shape)) or "a scalar"
