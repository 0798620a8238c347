"""Pairing: which block of a source family is which block of a target family, and the ways that fit all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ckpt_core.arrays import ArraySpec
from ckpt_core.framework import Slot
from ckpt_core.transfer.matching.cuts import Step, layer_steps, pack_steps, pack_ways
from ckpt_core.transfer.matching.flattening import flatten_ops
from ckpt_core.transfer.matching.units import Family, Index, Unit
from ckpt_core.transfer.matching.ways import Way, goes_along, part_ops, ways
from ckpt_core.transfer.ops import Op, Stack, Unstack

__all__ = ["Pairing", "pairing", "steps_of"]


@dataclass(frozen=True)
class Pairing:
    """Two families that fit each other.

    Arguments:
        pairs: the units, by the numbers of the blocks in order.
        form: "" for layer to layer, "stack" for many sources in one target, "unstack" for the reverse, "cut" for a
            layer that the other side cuts up in another way, "pack" for a packed matrix and its pieces.
        ways: the names of the ways that fit every pair, usual ones first.
        usual: those of them that are what the frameworks' own layers need.
    """

    pairs: tuple[tuple[Unit, Unit], ...]
    form: str
    ways: tuple[str, ...]
    usual: frozenset[str]


def pairing(source: Family, target: Family, styles: tuple[str, str]) -> Pairing | None:
    """Pair the units of two families; None where they do not fit."""
    one, other = source.first, target.first
    if one.members or other.members or one.pieces or other.pieces:
        return _compound(source, target, styles)
    counts = len(source.units), len(target.units)
    if counts[0] == counts[1]:
        form, pairs = "", _in_order(source, target)
        likes = pairs
    elif counts[1] == 1 and (layer := _layer_of(other, counts[0])):
        form, pairs = "stack", [(unit, other) for unit in source.units.values()]
        likes = [(one, layer)] if _alike(source) else None
    elif counts[0] == 1 and (layer := _layer_of(one, counts[1])):
        form, pairs = "unstack", [(one, unit) for unit in target.units.values()]
        likes = [(layer, other)] if _alike(target) else None
    else:
        return None
    if not likes or not pairs:
        return None
    return _with_common_ways(pairs, form, (ways(*like, styles) for like in likes))


def _compound(source: Family, target: Family, styles: tuple[str, str]) -> Pairing | None:
    """Pair families of which one at least has compounds."""
    pairs = _in_order(source, target) if len(source.units) == len(target.units) else None
    if not pairs:
        return None
    one, other = source.first, target.first
    if one.members and other.members:
        fits = all(layer_steps(*pair, styles) is not None for pair in pairs)
        return Pairing(tuple(pairs), "cut", ("layer",), frozenset({"layer"})) if fits else None
    if one.members or other.members or bool(one.pieces) == bool(other.pieces):
        return None
    return _with_common_ways(pairs, "pack", (pack_ways(*pair, styles) for pair in pairs))


def _with_common_ways(
    pairs: list[tuple[Unit, Unit]], form: str, possible: Iterable[list[Way]]
) -> Pairing | None:
    common: dict[str, Way] | None = None
    for options in possible:
        found = {way.name: way for way in options}
        common = found if common is None else {name: way for name, way in common.items() if name in found}
        if not common:
            return None
    if not common:
        return None
    usual = frozenset(name for name, way in common.items() if way.usual)
    return Pairing(tuple(pairs), form, tuple(common), usual)


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
    """Say whether all units have the same shapes, so that they can be stacked."""
    kinds = {
        tuple((part, slot.spec) for part, slot in sorted(u.parts.items())) for u in family.units.values()
    }
    return len(kinds) == 1


def _layer_of(unit: Unit, count: int) -> Unit | None:
    """The unit of one layer of a stack of `count`; None where a part has no such leading axis."""
    parts: dict[str, Slot] = {}
    for part, slot in unit.parts.items():
        if slot.spec.shape[:1] != (count,):
            return None
        parts[part] = replace(slot, spec=ArraySpec(slot.spec.shape[1:], slot.spec.dtype))
    return replace(unit, parts=parts)


def steps_of(pair: tuple[Unit, Unit], way: str, found: Pairing, styles: tuple[str, str]) -> list[Step]:
    """Return the steps of one pair.

    Arguments:
        pair: the units.
        way: the name of the way of the weight.
        found: the pairing that has the pair.
        styles: the frameworks whose layouts the two sides have.
    """
    source, target = pair
    if found.form == "cut":
        return layer_steps(source, target, styles) or []
    if found.form == "pack":
        return pack_steps(source, target, way, styles)
    return [
        Step((source.parts[part],), (slot,), _ops(pair, part, way, found, styles))
        for part, slot in target.parts.items()
    ]


def _ops(
    pair: tuple[Unit, Unit], part: str, way: str, found: Pairing, styles: tuple[str, str]
) -> tuple[Op, ...]:
    source, target = pair
    if found.form == "stack":
        target = _layer_of(target, len(found.pairs)) or target
    elif found.form == "unstack":
        source = _layer_of(source, len(found.pairs)) or source
    specs = source.parts[part].spec, target.parts[part].spec
    if way.startswith("flatten"):
        ops = flatten_ops(way, part, *specs, styles[0])
    elif part == "weight" or goes_along(source, target, part):
        ops = next(option.ops for option in ways(source, target, styles) if option.name == way)
    else:
        ops = part_ops(*specs) or ()
    if found.form == "stack":
        return (*ops, Stack())
    return (Unstack(), *ops) if found.form == "unstack" else ops
