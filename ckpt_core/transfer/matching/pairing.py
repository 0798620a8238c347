"""Pairing: which block of a source family is which block of a target family, and the ways that fit all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ckpt_core.arrays import ArraySpec
from ckpt_core.framework import Slot
from ckpt_core.transfer.matching.units import Family, Index, Unit
from ckpt_core.transfer.matching.ways import Way, part_ops, ways
from ckpt_core.transfer.ops import Op, Stack, Unstack

__all__ = ["Pairing", "pair_ops", "pairing"]


@dataclass(frozen=True)
class Pairing:
    """Two families that fit each other.

    Arguments:
        pairs: the units, by the numbers of the blocks in order.
        gathered: "" for one to one, "stack" for many sources in one target, "unstack" for the reverse.
        ways: the names of the ways that fit every pair, usual ones first.
        usual: those of them that are what the frameworks' own layers need.
    """

    pairs: tuple[tuple[Unit, Unit], ...]
    gathered: str
    ways: tuple[str, ...]
    usual: frozenset[str]


def pairing(source: Family, target: Family, styles: tuple[str, str]) -> Pairing | None:
    """Pair the units of two families; None where they do not fit."""
    counts = len(source.units), len(target.units)
    if counts[0] == counts[1]:
        gathered, pairs = "", _in_order(source, target)
        likes = pairs
    elif counts[1] == 1 and (layer := _layer_of(target.first, counts[0])):
        gathered, pairs = "stack", [(unit, target.first) for unit in source.units.values()]
        likes = [(pairs[0][0], layer)] if _alike(source) else None
    elif counts[0] == 1 and (layer := _layer_of(source.first, counts[1])):
        gathered, pairs = "unstack", [(source.first, unit) for unit in target.units.values()]
        likes = [(layer, pairs[0][1])] if _alike(target) else None
    else:
        return None
    if not likes or not pairs:
        return None
    common: dict[str, Way] | None = None
    for one, other in likes:
        found = {way.name: way for way in ways(one, other, styles)}
        common = found if common is None else {name: way for name, way in common.items() if name in found}
        if not common:
            return None
    assert common is not None
    return Pairing(
        tuple(pairs), gathered, tuple(common), frozenset(n for n, way in common.items() if way.usual)
    )


def _in_order(source: Family, target: Family) -> list[tuple[Unit, Unit]] | None:
    """Pair by numeric rank: number by number where both have as many, else in the order of all together."""
    places = [_ranked(list(family.units)) for family in (source, target)]
    if len(next(iter(places[0].values()))) == len(next(iter(places[1].values()))):
        mine = {rank: source.units[index] for index, rank in places[0].items()}
        theirs = {rank: target.units[index] for index, rank in places[1].items()}
        if mine.keys() != theirs.keys():
            return None
        return [(unit, theirs[rank]) for rank, unit in sorted(mine.items())]
    return list(zip(source.units.values(), target.units.values(), strict=True))


def _ranked(indices: list[Index]) -> dict[Index, Index]:
    """Each index by the ranks of its numbers, without the places at which all are equal."""
    columns = [sorted(set(column)) for column in zip(*indices, strict=True)]
    kept = [
        (place, {n: i for i, n in enumerate(column)})
        for place, column in enumerate(columns)
        if len(column) > 1
    ]
    return {index: tuple(ranks[index[place]] for place, ranks in kept) for index in indices}


def _alike(family: Family) -> bool:
    return (
        len(
            {
                tuple((part, slot.spec) for part, slot in sorted(unit.parts.items()))
                for unit in family.units.values()
            }
        )
        == 1
    )


def _layer_of(unit: Unit, count: int) -> Unit | None:
    """The unit of one layer of a stack of `count`; None where a part has no such leading axis."""
    parts: dict[str, Slot] = {}
    for part, slot in unit.parts.items():
        if slot.spec.shape[:1] != (count,):
            return None
        parts[part] = replace(slot, spec=ArraySpec(slot.spec.shape[1:], slot.spec.dtype))
    return replace(unit, parts=parts)


def pair_ops(
    pair: tuple[Unit, Unit], part: str, way: str, found: Pairing, styles: tuple[str, str]
) -> tuple[Op, ...]:
    """Return the chain of one part of one pair.

    Arguments:
        pair: the units.
        part: "weight", "bias", ...
        way: the name of the way of the weight.
        found: the pairing that has the pair.
        styles: the frameworks whose layouts the two sides have.
    """
    source, target = pair
    if found.gathered == "stack":
        target = _layer_of(target, len(found.pairs)) or target
    elif found.gathered == "unstack":
        source = _layer_of(source, len(found.pairs)) or source
    if part == "weight":
        ops = next(candidate.ops for candidate in ways(source, target, styles) if candidate.name == way)
    else:
        ops = part_ops(source.parts[part].spec, target.parts[part].spec) or ()
    if found.gathered == "stack":
        return (*ops, Stack())
    return (Unstack(), *ops) if found.gathered == "unstack" else ops
