"""Levels: the numbered lists around a layer, and which of one side stand for which of the other.

`layers/1/blocks/0` and `stage1_block0` have two each; the sublayers that `block/1/layer/0` numbers have no list on a
side that calls them by name.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

from ckpt_core.transfer.matching.state import Search
from ckpt_core.transfer.matching.words import read_segment

__all__ = ["Level", "Levels", "levels_of", "torn"]

Path = tuple[str, ...]
Numbers = tuple[int, ...]
_Lists = tuple[tuple[str, ...], tuple[str, ...]]
_Places = tuple[int, int]


class Level(NamedTuple):
    """One number around a layer: the list that it counts, and all numbers up to it."""

    list: str
    numbers: Numbers


@functools.lru_cache(65536)
def levels_of(path: Path) -> tuple[Level, ...]:
    """Return the levels around what is at a path, outermost first.

    Example:
        >>> levels_of(("stage1_block0", "attn", "query"))
        (Level(list='stage#', numbers=(1,)), Level(list='stage#_block#', numbers=(1, 0)))
    """
    found: list[Level] = []
    before = ""
    numbers: Numbers = ()
    for text in path[:-1]:
        segment = read_segment(text)
        pieces = segment.shape.split("#")
        for count, number in enumerate(segment.numbers, 1):
            numbers = (*numbers, number)
            found.append(Level(f"{before}{'#'.join(pieces[:count])}#", numbers))
        before += segment.shape + "/"
    return tuple(found)


class Levels:
    """Which levels of two paths stand for each other, by all that is settled.

    Where both paths are in as many lists, these do, in order; those around the innermost only if they go along with
    each other, for one side may name the experts of a layer and the other the layers of an expert. Else the innermost
    list of the side that has fewer is the one of the other side that goes along with it in all lines. A list of one
    member counts nothing.

    Arguments:
        search: what is settled, and what is left.
    """

    def __init__(self, search: Search) -> None:
        pairs = [pair for match in search.matches for pair in match.pairing.pairs]
        left = (search.sources, search.targets)
        self._varying = [
            _varying(
                [
                    *(pair[side].path for pair in pairs),
                    *(u.path for f in left[side] for u in f.units.values()),
                ]
            )
            for side in (0, 1)
        ]
        said: dict[_Lists, dict[_Places, set[tuple[Numbers, Numbers]]]] = {}
        for source, target in pairs:
            mine, theirs = self._numbered(source.path, 0), self._numbered(target.path, 1)
            votes = said.setdefault((_lists(mine), _lists(theirs)), {})
            for one, other in _possible(len(mine), len(theirs)):
                votes.setdefault((one, other), set()).add((mine[one].numbers, theirs[other].numbers))
        self._facing = {lists: _chosen(lists, votes) for lists, votes in said.items()}

    def facing(self, source: Path, target: Path) -> list[tuple[Level, Level]]:
        """Return the levels of two paths that stand for each other, outermost first."""
        mine, theirs = self._numbered(source, 0), self._numbered(target, 1)
        lists = _lists(mine), _lists(theirs)
        places = self._facing.get(lists)
        if places is None:  # nothing settled is in both
            places = _possible(len(mine), len(theirs))[-1:]
        return [(mine[one], theirs[other]) for one, other in places]

    def _numbered(self, path: Path, side: int) -> list[Level]:
        return [level for level in levels_of(path) if level.list in self._varying[side]]


def _lists(levels: Iterable[Level]) -> tuple[str, ...]:
    return tuple(level.list for level in levels)


def _possible(ours: int, theirs: int) -> list[_Places]:
    """Which levels may stand for each other where there are so many, the innermost last."""
    if ours == theirs:
        return [(level, level) for level in range(ours)]
    if ours < theirs:
        return [(ours - 1, level) for level in range(theirs)] if ours else []
    return [(other, one) for one, other in _possible(theirs, ours)]


def _chosen(lists: _Lists, votes: dict[_Places, set[tuple[Numbers, Numbers]]]) -> list[_Places]:
    """Those levels of the possible ones that stand for each other."""
    if not votes:
        return []
    apart = {places: torn(pairs) for places, pairs in votes.items()}
    innermost = list(apart)[-1]
    if len(lists[0]) == len(lists[1]):
        return [places for places in apart if apart[innermost] or not apart[places]]
    return [min(reversed(apart), key=lambda places: apart[places])]


def _varying(paths: Iterable[Path]) -> set[str]:
    """The lists that have several members."""
    members: dict[str, set[int]] = {}
    for path in paths:
        for level in levels_of(path):
            members.setdefault(level.list, set()).add(level.numbers[-1])
    return {name for name, numbers in members.items() if len(numbers) > 1}


def torn(pairs: set[tuple[Numbers, Numbers]]) -> int:
    """Return how far pairs are from one to one; 0 if they are."""
    return 2 * len(pairs) - sum(len(set(column)) for column in zip(*pairs, strict=True))
