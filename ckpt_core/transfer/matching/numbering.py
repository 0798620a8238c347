"""Numbering: numbers settle a line only where nothing contradicts their order.

Layers and blocks that differ by their numbers alone are paired in order. Where some of them can go to one place only,
by their shapes or by a rule, and these are out of order, the numbers of the two lists do not mean the same. Nor do
they where one side counts and the other has sizes (`down_32, down_16, down_8`).
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ckpt_core.transfer.matching.families import Family
from ckpt_core.transfer.matching.levels import Levels, levels_of
from ckpt_core.transfer.matching.state import Match, Search
from ckpt_core.transfer.matching.units import Unit
from ckpt_core.transfer.matching.words import read_segment

__all__ = ["drop_misnumbered"]

_FEWEST_SIZES: Final = 3
_SMALLEST_SIZE: Final = 4

Path = tuple[str, ...]
Number = tuple[int, ...]
List = tuple[str, Number]
"""A numbered list: the path up to its number, `#` in its place, and the numbers before."""


class _Place(NamedTuple):
    """One number of a path: the list that it counts, and itself."""

    list: List
    number: int
    others: tuple[str, Number]
    """The whole path without this number, which its peers have in common."""


@dataclass
class _Side:
    """The numbered lists of one side, and how often an array of a shape is in one."""

    numbers: dict[List, set[int]] = field(default_factory=dict)
    shapes: dict[tuple[List, tuple[str, Number]], Counter[object]] = field(default_factory=dict)
    _doubling: dict[List, bool] = field(default_factory=dict)

    def add(self, unit: Unit) -> None:
        for place in _places(unit.path):
            self.numbers.setdefault(place.list, set()).add(place.number)
            self.shapes.setdefault((place.list, place.others), Counter())[_shapes(unit)] += 1

    def is_unique(self, unit: Unit, place: _Place) -> bool:
        """Say whether no peer of a unit has its shapes."""
        return self.shapes[place.list, place.others][_shapes(unit)] == 1

    def are_sizes(self, of: List) -> bool:
        """Say whether each number of a list is twice the one before: resolutions, which may count down (`down_32`)."""
        found = self._doubling.get(of)
        if found is None:
            numbers = sorted(self.numbers[of])
            doubles = all(later == 2 * one for one, later in itertools.pairwise(numbers))
            found = self._doubling[of] = (
                len(numbers) >= _FEWEST_SIZES and numbers[0] >= _SMALLEST_SIZE and doubles
            )
        return found

    def rank(self, place: _Place) -> int:
        return sorted(self.numbers[place.list]).index(place.number)


def drop_misnumbered(search: Search) -> None:
    """Take back the matches that go by numbers whose order other lines contradict."""
    matches = [match for match in search.matches if not match.pairing.form and not match.pairing.across]
    levels = Levels(search)
    sides = _side(search.sources, matches, 0), _side(search.targets, matches, 1)
    fixed: dict[tuple[List, List], set[tuple[int, int]]] = {}
    shifted: set[tuple[List, List]] = set()
    sizes: set[tuple[List, List]] = set()
    pairs = [pair for match in matches for pair in match.pairing.pairs]
    for source, target in pairs:
        for mine, theirs in _facing(source.path, target.path, levels):
            if sides[0].are_sizes(mine.list) != sides[1].are_sizes(theirs.list):
                sizes.add((mine.list, theirs.list))
            if sides[0].is_unique(source, mine) and sides[1].is_unique(target, theirs):
                fixed.setdefault((mine.list, theirs.list), set()).add((mine.number, theirs.number))
                if _is_shifted(mine, theirs, sides):
                    shifted.add((mine.list, theirs.list))
    for one, other in search.anchors:
        for mine, theirs in _facing(one, other, levels):
            fixed.setdefault((mine.list, theirs.list), set()).add((mine.number, theirs.number))
    if not fixed and not sizes:
        return
    broken = sizes | {lists for lists, known in fixed.items() if lists in shifted or not _in_order(known)}

    def holds(match: Match) -> bool:
        return all(
            (mine.number, theirs.number) in known or (lists not in broken and _fits(mine, theirs, known))
            for source, target in match.pairing.pairs
            for mine, theirs in _facing(source.path, target.path, levels)
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


def _in_order(known: set[tuple[int, int]]) -> bool:
    ours, theirs = (sorted(set(column)) for column in zip(*known, strict=True))
    return len(ours) == len(theirs) == len(known) and set(zip(ours, theirs, strict=True)) == known


def _fits(mine: _Place, theirs: _Place, known: set[tuple[int, int]]) -> bool:
    """Say whether a pair of numbers keeps the order of those that are known."""
    return all(
        (mine.number > one, theirs.number > other) in ((True, True), (False, False))
        and (mine.number == one) == (theirs.number == other)
        for one, other in known
    )


def _facing(source: Path, target: Path, levels: Levels) -> Iterator[tuple[_Place, _Place]]:
    """The numbers of two paths that stand for each other: those of the blocks around, and those of their own names."""
    ours, theirs = _places(source), _places(target)
    for mine, other in levels.facing(source, target):
        yield ours[len(mine.numbers) - 1], theirs[len(other.numbers) - 1]
    own = [places[len(levels_of(path)) :] for places, path in ((ours, source), (theirs, target))]
    yield from zip(*own, strict=False)


@functools.lru_cache(65536)
def _places(path: Path) -> list[_Place]:
    """The numbers of a path, in order."""
    segments = [read_segment(text) for text in path]
    shape = "/".join(segment.shape for segment in segments)
    numbers = tuple(number for segment in segments for number in segment.numbers)
    ends = [at for at, letter in enumerate(shape) if letter == "#"]
    return [
        _Place((shape[: end + 1], numbers[:at]), numbers[at], (shape, (*numbers[:at], *numbers[at + 1 :])))
        for at, end in enumerate(ends)
    ]


def _shapes(unit: Unit) -> object:
    return tuple(sorted((part, slot.spec.shape) for part, slot in unit.parts.items()))
