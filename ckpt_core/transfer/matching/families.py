"""Families: the units of repeated blocks as one, whose paths differ by the numbers of the blocks around them alone.

`layers/0/attn/query` and `layers/1/attn/query` are one family: `layers/#/attn/query`.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from ckpt_core.transfer.matching.sublayers import GATED, is_gated, order_of_norms
from ckpt_core.transfer.matching.units import Unit
from ckpt_core.transfer.matching.words import Token, read_segment

__all__ = ["Family", "Index", "Ordinal", "families_of", "letters", "lists_of", "numbers_in", "split"]

Index = tuple[int, ...]

_MANY: Final = 16
"""More numbered siblings than these are a list, whose numbers are an index."""


@dataclass(frozen=True, slots=True)
class Ordinal:
    """A number among those of siblings: its place, how many there are, and itself."""

    rank: int
    count: int
    number: int


@dataclass(frozen=True)
class Family:
    """Units of one place in repeated blocks, by the numbers of the blocks.

    Arguments:
        pattern: the path, with `#` for the numbers.
        units: the units by their numbers, in order.
        tokens: what the path says, with the depth at which it does.
        ordinal: the number of its own name among siblings of the same kind, where there are several.
        blocks: the numbers of the blocks around it that tell it from others, innermost first.
        address: the pattern, with the numbers that belong to it alone.
    """

    pattern: tuple[str, ...]
    units: dict[Index, Unit]
    tokens: tuple[tuple[int, Token], ...]
    ordinal: Ordinal | None
    blocks: tuple[Ordinal, ...]
    address: tuple[str, ...]

    @property
    def first(self) -> Unit:
        """One unit that stands for all."""
        return next(iter(self.units.values()))

    @functools.cached_property
    def size(self) -> int:
        """The number of elements of all main arrays."""
        return sum(unit.size for unit in self.units.values())

    @property
    def name(self) -> str:
        """The path of the first unit as text, for messages."""
        return "/".join(self.first.path)


def families_of(units: Iterable[Unit], fine: int = 0, *, listed: bool = False) -> list[Family]:
    """Group units into families.

    Arguments:
        units: the units.
        fine: how many of the innermost block numbers tell families apart, instead of being an index.
        listed: whether the number of a layer's own name is that of a block, too: `attn_norm_0` of the block 0.
    """
    read = [(unit, *_parsed(unit.path)) for unit in units]
    siblings: dict[object, set[int]] = {}
    for unit, stem, _, last in read:
        if last is not None:
            siblings.setdefault((stem, unit.kind), set()).add(last)
    grouped: dict[Any, dict[Index, Unit]] = {}
    for unit, stem, outer, own in read:
        count = len(siblings[stem, unit.kind]) if own is not None else 0
        is_list = count > (_MANY if not listed or len(letters(stem[-1])) == 1 else 1)
        numbers, last = ((*outer, own), None) if is_list and own is not None else (outer, own)
        cut = max(len(numbers) - fine, 0)
        grouped.setdefault(((stem, unit.kind, unit.bare), numbers[cut:], last), {})[numbers[:cut]] = unit
    values: dict[Any, set[int]] = {}
    for kind, kept, last in grouped:
        for place, number in [*enumerate(reversed(kept)), (-1, last)]:
            values.setdefault((kind, place), set()).add(number)

    def ordinal(kind: object, place: int, number: int | None) -> Ordinal | None:
        known = values[kind, place]
        if number is None or len(known) == 1:
            return None
        return Ordinal(sorted(known).index(number), len(known), number)

    families = []
    for (kind, kept, last), members in grouped.items():
        blocks = [ordinal(kind, place, number) for place, number in enumerate(reversed(kept))]
        families.append(
            Family(
                kind[0],
                _in_one_order(dict(sorted(members.items()))),
                _said(kind[0]),
                ordinal(kind, -1, last),
                tuple(block for block in blocks if block),
                _address(kind[0], members, (*kept, *(() if last is None else (last,)))),
            )
        )
    return _with_conventions(families)


def numbers_in(families: Iterable[Family]) -> int:
    """Return how many numbers of blocks are an index at most."""
    return max((len(index) for family in families for index in family.units), default=0)


def _with_conventions(families: list[Family]) -> list[Family]:
    """The families with what the members of a block are by convention; see `sublayers`."""
    beside: dict[object, list[int]] = {}
    within: dict[object, list[int]] = {}
    for place, family in enumerate(families):
        axes = len(family.first.main.spec.shape)
        beside.setdefault((family.address[:-1], axes), []).append(place)
        depth = _depth_of_block(family.pattern)
        if depth and axes == 1:
            within.setdefault(family.address[:depth], []).append(place)
    ranks: dict[int, int] = {}
    for places in (*within.values(), *beside.values()):
        order = order_of_norms([_said_in_block(families[place]) for place in places])
        ranks.update(zip(places, order or (), strict=False))
    for place, rank in ranks.items():
        families[place] = replace(families[place], ordinal=Ordinal(rank, 2, rank))
    for places in beside.values():
        members = [families[place] for place in places]
        if is_gated({member.address[-1]: member.first.main.spec.shape for member in members}):
            for place, member in zip(places, members, strict=True):
                known = (len(member.pattern) - 1, GATED[member.address[-1]])
                families[place] = replace(member, tokens=(*member.tokens, known))
    return families


def _depth_of_block(pattern: tuple[str, ...]) -> int:
    """How many segments lead to the innermost block that a pattern is in; 0 where it is in none."""
    return max((depth for depth, text in enumerate(pattern[:-1], 1) if "#" in text), default=0)


def _said_in_block(family: Family) -> frozenset[str]:
    """The concepts of the name of a family within its block."""
    inner = family.pattern[_depth_of_block(family.pattern) :]
    return frozenset(token.concept for text in inner for token in read_segment(text).tokens)


def _in_one_order(units: dict[Index, Unit]) -> dict[Index, Unit]:
    """Units of repeated blocks with their arrays in the order of the first: a file may mix them up."""
    first = next(iter(units.values()))
    orders = list(first.parts), list(first.members)
    return {
        index: unit
        if (list(unit.parts), list(unit.members)) == orders or unit.members.keys() != first.members.keys()
        else replace(
            unit,
            parts={part: unit.parts[part] for part in orders[0]},
            members={name: unit.members[name] for name in orders[1]},
        )
        for index, unit in units.items()
    }


def split(families: Iterable[Family], fine: int = 0, *, listed: bool = False) -> list[Family]:
    """Group the units of families anew; see `families_of`."""
    return families_of((unit for family in families for unit in family.units.values()), fine, listed=listed)


@functools.lru_cache(65536)
def letters(text: str) -> str:
    """Return the letters of a name, in lower case."""
    return re.sub(r"[^a-z]", "", text.lower())


@functools.lru_cache(65536)
def lists_of(pattern: tuple[str, ...]) -> tuple[str, ...]:
    """Return what each number of a pattern counts: the word before it, in its segment or in the one before.

    Example:
        >>> lists_of(("layers", "#", "expert_#_layer_#", "fc"))
        ('layers', 'expert', 'layer')
    """
    found = []
    before = ""
    for segment in pattern:
        for text in segment.split("#")[:-1]:
            before = text.strip("_.-") or before
            found.append(before)
        before = segment.split("#")[-1].strip("_.-") or before
    return tuple(found)


def _parsed(path: tuple[str, ...]) -> tuple[tuple[str, ...], Index, int | None]:
    """The path with `#` for numbers, the numbers of the blocks, and the last number of the last segment."""
    segments = [read_segment(segment) for segment in path]
    numbers = [number for segment in segments for number in segment.numbers]
    last = numbers.pop() if segments[-1].numbers else None
    return tuple(segment.shape for segment in segments), tuple(numbers), last


def _address(pattern: tuple[str, ...], units: dict[Index, Unit], numbers: Index) -> tuple[str, ...]:
    """The pattern, with the numbers put in that all units have."""
    first = next(iter(units))
    free = map(str, first) if len(units) == 1 else iter("#" * len(first))
    places = itertools.chain(free, map(str, numbers))
    return tuple(re.sub("#", lambda _: next(places, "#"), text) for text in pattern)


def _said(pattern: tuple[str, ...]) -> tuple[tuple[int, Token], ...]:
    return tuple(
        (depth, token)
        for depth, text in enumerate(pattern)
        for token in read_segment(text.replace("#", "0")).tokens
    )
