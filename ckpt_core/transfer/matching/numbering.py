"""Numbering: numbers settle a line only where nothing contradicts their order.

Layers and blocks that differ by their numbers alone are paired in order. Where some of them can go to one place only,
by their shapes or by a rule, and these are out of order, the numbers of the two lists do not mean the same.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ckpt_core.transfer.matching.state import Match, Search
from ckpt_core.transfer.matching.units import Family, Unit
from ckpt_core.transfer.matching.words import read_segment

__all__ = ["drop_misnumbered"]

Number = tuple[int, ...]
List = tuple[str, Number]
"""A numbered list: the path up to its number, `#` in its place, and the numbers before."""


class _Place(NamedTuple):
    """One number of a path: the list that it counts, and itself."""

    list: List
    number: Number
    others: tuple[str, Number]
    """The whole path without this number, which its peers have in common."""
    depth: int


@dataclass
class _Side:
    """The numbered lists of one side, and how often an array of a shape is in one."""

    numbers: dict[List, set[Number]] = field(default_factory=dict)
    shapes: dict[tuple[List, tuple[str, Number]], Counter[object]] = field(default_factory=dict)

    def add(self, unit: Unit) -> None:
        for place in _places(unit.path):
            self.numbers.setdefault(place.list, set()).add(place.number)
            self.shapes.setdefault((place.list, place.others), Counter())[_shapes(unit)] += 1

    def is_unique(self, unit: Unit, place: _Place) -> bool:
        """Say whether no peer of a unit has its shapes."""
        return self.shapes[place.list, place.others][_shapes(unit)] == 1

    def rank(self, place: _Place) -> int:
        return sorted(self.numbers[place.list]).index(place.number)


def drop_misnumbered(search: Search) -> None:
    """Take back the matches that go by numbers whose order other lines contradict."""
    matches = [match for match in search.matches if not match.pairing.form and not match.pairing.across]
    sides = _side(search.sources, matches, 0), _side(search.targets, matches, 1)
    fixed: dict[tuple[List, List], set[tuple[Number, Number]]] = {}
    shifted: set[tuple[List, List]] = set()
    pairs = [pair for match in matches for pair in match.pairing.pairs]
    for source, target in pairs:
        for mine, theirs in _facing(source.path, target.path):
            if sides[0].is_unique(source, mine) and sides[1].is_unique(target, theirs):
                fixed.setdefault((mine.list, theirs.list), set()).add((mine.number, theirs.number))
                if _is_shifted(mine, theirs, sides):
                    shifted.add((mine.list, theirs.list))
    for one, other in search.anchors:
        for mine, theirs in _facing(one, other):
            fixed.setdefault((mine.list, theirs.list), set()).add((mine.number, theirs.number))
    if not fixed:
        return
    broken = {lists for lists, known in fixed.items() if lists in shifted or not _in_order(known)}

    def holds(match: Match) -> bool:
        return all(
            (mine.number, theirs.number) in known or (lists not in broken and _fits(mine, theirs, known))
            for source, target in match.pairing.pairs
            for mine, theirs in _facing(source.path, target.path)
            for lists in [(mine.list, theirs.list)]
            for known in [fixed.get(lists, set())]
        )

    search.misnumbered = [match for match in matches if not holds(match)]
    gone = set(map(id, search.misnumbered))
    search.matches = [match for match in search.matches if id(match) not in gone]


def _side(left: Iterable[Family], matches: Iterable[Match], end: int) -> _Side:
    side = _Side()
    for family in left:
        for unit in family.units.values():
            side.add(unit)
    for match in matches:
        for pair in match.pairing.pairs:
            side.add(pair[end])
    return side


def _is_shifted(mine: _Place, theirs: _Place, sides: tuple[_Side, _Side]) -> bool:
    """Say whether two lists are as long as each other, and a member is not at the same place of both."""
    counts = [len(side.numbers[place.list]) for side, place in zip(sides, (mine, theirs), strict=True)]
    return counts[0] == counts[1] and sides[0].rank(mine) != sides[1].rank(theirs)


def _in_order(known: set[tuple[Number, Number]]) -> bool:
    ours, theirs = (sorted(set(column)) for column in zip(*known, strict=True))
    return len(ours) == len(theirs) == len(known) and set(zip(ours, theirs, strict=True)) == known


def _fits(mine: _Place, theirs: _Place, known: set[tuple[Number, Number]]) -> bool:
    """Say whether a pair of numbers keeps the order of those that are known."""
    return all(
        (mine.number > one, theirs.number > other) in ((True, True), (False, False))
        and (mine.number == one) == (theirs.number == other)
        for one, other in known
    )


def _facing(source: tuple[str, ...], target: tuple[str, ...]) -> Iterator[tuple[_Place, _Place]]:
    """The numbers of two paths that stand for each other: those of their own names, and those of the blocks around.

    Where one has more blocks around it than the other, the innermost stand for each other.
    """
    own: list[list[_Place]] = []
    around: list[list[_Place]] = []
    for path in (source, target):
        places = _places(path)
        inner = [place for place in places if place.depth == len(path) - 1]
        own.append(inner)
        around.append([place for place in places if place not in inner])
    if len(around[0]) != len(around[1]):
        around = [places[-1:] for places in around]
    yield from zip(*around, strict=False)
    yield from zip(*own, strict=False)


@functools.lru_cache(65536)
def _places(path: tuple[str, ...]) -> list[_Place]:
    segments = [read_segment(text) for text in path]
    shapes = [segment.shape for segment in segments]
    found = []
    for depth, segment in enumerate(segments):
        if segment.numbers:
            before = tuple(n for other in segments[:depth] for n in other.numbers)
            behind = tuple(n for other in segments[depth + 1 :] for n in other.numbers)
            upto = "/".join(shapes[: depth + 1])
            found.append(
                _Place((upto, before), segment.numbers, ("/".join(shapes), (*before, *behind)), depth)
            )
    return found


def _shapes(unit: Unit) -> object:
    return tuple(sorted((part, slot.spec.shape) for part, slot in unit.parts.items()))
