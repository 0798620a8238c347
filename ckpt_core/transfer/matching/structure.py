"""Neighbours: what is settled near an open line says where it belongs."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ckpt_core.transfer.matching.families import Family

__all__ = ["closeness", "linked"]

WEIGHT: Final = 0.8
_ENOUGH: Final = 32

Address = tuple[str, ...]
Ends = tuple[Address, Address]


def closeness(sources: Sequence[Family], targets: Sequence[Family], ends: Sequence[Ends]) -> Any:
    """Return, for each pair, how well it keeps the neighbourhood: 0 to 2 times the weight.

    The settled lines that are nearest to a source in its tree went somewhere; a target that is as near to these as
    can be speaks for the pair, and so the other way round.
    """
    if not ends:
        return np.zeros((len(sources), len(targets)))
    ours, from_here = _grouped([f.address for f in sources], [one for one, _ in ends])
    theirs, to_there = _grouped([f.address for f in targets], [other for _, other in ends])
    forth = _votes(ours, theirs, list(zip(from_here, to_there, strict=True)))
    back = _votes(theirs, ours, list(zip(to_there, from_here, strict=True)))
    return WEIGHT * (forth + back.T)


def _votes(ours: list[Address], theirs: list[Address], ends: list[tuple[Address, Address]]) -> Any:
    near = _Nearest(ends)
    votes = np.zeros((len(ours), len(theirs)))
    for row, address in enumerate(ours):
        neighbours = near.of(address)
        for other in neighbours:
            depths = np.array([common(other, their) for their in theirs])
            if depths.size and depths.max() > depths.min():
                votes[row] += (depths == depths.max()) / len(neighbours)
    return votes


def _grouped(left: list[Address], settled: list[Address]) -> tuple[list[Address], list[Address]]:
    """The addresses with what siblings' names begin with as a group of its own: `stem_conv` and `stem_norm`."""
    groups = Counter((a[:-1], _beginning(a[-1])) for a in {*left, *settled} if a)

    def nested(address: Address) -> Address:
        word = _beginning(address[-1]) if address else ""
        return (*address[:-1], word, address[-1]) if word and groups[address[:-1], word] > 1 else address

    return [nested(address) for address in left], [nested(address) for address in settled]


@functools.lru_cache(65536)
def _beginning(name: str) -> str:
    """The first word of a name of several words; a number is no word."""
    word, _, rest = name.partition("_")
    return word if any(letter.isalpha() for letter in rest) else ""


class _Nearest:
    """The settled ends by the prefixes of their addresses, numbers left out."""

    def __init__(self, ends: list[tuple[Address, Address]]) -> None:
        self._below: dict[Address, list[tuple[Address, Address]]] = {}
        for mine, other in ends:
            shape = _shape(mine)
            for depth in range(1, len(mine)):
                self._below.setdefault(shape[:depth], []).append((mine, other))

    def of(self, address: Address) -> list[Address]:
        """Return where the nearest settled neighbours of an address went; none where nothing is near."""
        shape = _shape(address)
        for depth in range(len(address) - 1, 0, -1):
            found = [
                other
                for mine, other in self._below.get(shape[:depth], ())
                if all(map(_same, mine[:depth], address[:depth]))
            ]
            if found:
                return found[:_ENOUGH]
        return []


def _shape(address: Address) -> Address:
    return tuple([_without_numbers(segment) for segment in address])


@functools.lru_cache(65536)
def _without_numbers(segment: str) -> str:
    return re.sub(r"\d+", "#", segment)


def _same(a: str, b: str) -> bool:
    """Say whether two segments can be one; `#` is any number."""
    return a == b or (("#" in a or "#" in b) and _without_numbers(a) == _without_numbers(b))


def common(a: Address, b: Address) -> int:
    """Return how many segments two addresses share from the start, their last ones left out."""
    depth = 0
    for mine, theirs in zip(a[:-1], b[:-1], strict=False):
        if not _same(mine, theirs):
            break
        depth += 1
    return depth


def linked(source: Family, target: Family, ends: Sequence[Ends]) -> bool:
    """Say whether a settled sibling of the source went to a sibling of the target."""
    mine, theirs = len(source.address) - 1, len(target.address) - 1
    return mine > 0 < theirs and any(
        len(one) - 1 == mine == common(one, source.address)
        and len(other) - 1 == theirs == common(other, target.address)
        for one, other in ends
    )
