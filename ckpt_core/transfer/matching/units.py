"""Units: the arrays of one layer as one thing, and families: the units of repeated blocks as one.

A unit is what a framework calls a layer: `attn/query` with its weight and its bias. A family is the units whose paths
differ by the numbers of the blocks around them alone: `layers/#/attn/query`.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ckpt_core.framework import Slot, Template
from ckpt_core.transfer.matching.vocabulary import BUFFERS, PARTS
from ckpt_core.transfer.matching.words import Token, read_segment

__all__ = [
    "Family",
    "Ordinal",
    "Unit",
    "core_of",
    "families_of",
    "letters",
    "lists_of",
    "split",
    "style_of",
    "unit_path",
    "units_of",
]

Index = tuple[int, ...]

_COLLECTIONS: Final = frozenset({"params", "batch_stats", "constants", "buffers"})
_VALUES: Final = frozenset({"value", "raw_value"})
_WEIGHT_NORM: Final = {"original0": "g", "original1": "v"}
"""What `torch.nn.utils.parametrizations.weight_norm` calls the sizes and the directions, `weight_norm` g and v."""
_PACKED: Final = {"in_proj_weight": ("in_proj", "weight"), "in_proj_bias": ("in_proj", "bias")}
_MANY: Final = 16
"""More numbered siblings than these are a list, whose numbers are an index."""

FLAX_WORDS: Final = frozenset({"kernel", "scale", "embedding"})


@dataclass(frozen=True)
class Unit:
    """One layer's arrays.

    Arguments:
        path: where it is; for an array that no layer holds, its own path.
        parts: "weight", "bias", "mean", "var" -> slot; an array that no layer holds is "weight".
        bare: whether its array is held by no layer.
        position: the place of its first array in the template's order.
        members: of a layer that the other side cuts up in another way, its arrays by their names within it.
        ending: what torch puts after these names: "_l0".
        pieces: of what is one packed matrix on the other side, the units that it is made of.
    """

    path: tuple[str, ...]
    parts: dict[str, Slot]
    bare: bool
    position: int
    members: dict[str, Slot] = field(default_factory=dict)
    ending: str = ""
    pieces: tuple[Unit, ...] = ()

    @property
    def main(self) -> Slot:
        """The weight, or what stands in for one."""
        return self.parts.get("weight") or next(iter(self.parts.values()))

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All its arrays."""
        if self.pieces:
            return tuple(slot for piece in self.pieces for slot in piece.slots)
        return tuple((self.members or self.parts).values())

    @property
    def layer_type(self) -> str:
        """The type of the layer, where it is known: "Linear", "Dense"."""
        return str(self.main.layer.get("type", "")).rpartition(".")[2]

    @property
    def may_be_interleaved(self) -> bool:
        """Whether its name is one that packs of queries, keys and values have which lie head by head."""
        return any(
            token.concept == "interleaved"
            for segment in self.path[-2:]
            for token in read_segment(segment).tokens
        )

    @property
    def packed(self) -> int:
        """How many of queries, keys and values its name says that it holds in one matrix; 0 where it does not."""
        said = {token.concept for token in read_segment(self.path[-1]).tokens}
        return len(said & {"query", "key", "value"}) if "packed" in said else 0

    @property
    def size(self) -> int:
        """The number of elements of its main array."""
        return math.prod(self.main.spec.shape)

    @property
    def kind(self) -> tuple[tuple[str, ...], int]:
        """Which parts it has, and how many axes the main one has."""
        return tuple(sorted(self.parts)), len(self.main.spec.shape)


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


def style_of(template: Template) -> str:
    """Return the framework whose layouts a template has: what it says, or what its names say; "" if they do not."""
    if template.framework:
        return template.framework
    ends = {core_of(slot.path)[-1] for slot in template.slots if slot.path}
    if "weight" in ends and "kernel" not in ends:  # a torch module may well have a `scale` of its own
        return "torch"
    return "flax" if ends & FLAX_WORDS else ""


def core_of(path: tuple[str, ...]) -> tuple[str, ...]:
    """The path without what containers of variables add: collections before, `value` behind.

    Of torch's two spellings of a normalised weight, it is the older: `weight_g`, `weight_v`.
    """
    while len(path) > 1 and path[0] in _COLLECTIONS:
        path = path[1:]
    while len(path) > 1 and path[-1] in _VALUES:
        path = path[:-1]
    if len(path) > 2 and path[-3] == "parametrizations" and path[-1] in _WEIGHT_NORM:
        path = (*path[:-3], f"{path[-2]}_{_WEIGHT_NORM[path[-1]]}")
    return path


def units_of(slots: Iterable[Slot]) -> list[Unit]:
    """Group slots into units, in order; bookkeeping buffers are left out."""
    found: dict[tuple[str, ...], Unit] = {}
    for position, slot in enumerate(slots):
        path = core_of(slot.path)
        if path[-1] in BUFFERS:
            continue
        if path[-1] in _PACKED:
            name, part = _PACKED[path[-1]]
            path, bare = (*path[:-1], name), False
        else:
            part, bare = PARTS.get(path[-1], ""), False
            if part and len(path) > 1:
                path = path[:-1]
            else:
                part, bare = "weight", True
        unit = found.get(path)
        if unit is None or part in unit.parts:
            if unit is not None:  # `kernel` beside `scale`: each for itself
                path, part, bare = core_of(slot.path), "weight", True
            found[path] = Unit(path, {part: slot}, bare, position)
        else:
            unit.parts[part] = slot
    return list(found.values())


def unit_path(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the path of the unit that the array at a path belongs to."""
    core = core_of(path)
    return core[:-1] if len(core) > 1 and (core[-1] in PARTS or core[-1] in _PACKED) else core


# Families.


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
                _address(kind[0], len(next(iter(members))), (*kept, *(() if last is None else (last,)))),
            )
        )
    return families


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


def _address(pattern: tuple[str, ...], free: int, numbers: Index) -> tuple[str, ...]:
    """The pattern, its numbers beyond the first `free` ones put in."""
    places = iter([*("#" * free), *map(str, numbers)])
    return tuple(re.sub("#", lambda _: next(places, "#"), text) for text in pattern)


def _said(pattern: tuple[str, ...]) -> tuple[tuple[int, Token], ...]:
    return tuple(
        (depth, token)
        for depth, text in enumerate(pattern)
        for token in read_segment(text.replace("#", "0")).tokens
    )
