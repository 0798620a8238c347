"""Pairing: which block of a source family is which block of a target family, and the ways that fit all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ckpt_core.arrays import ArraySpec
from ckpt_core.framework import Slot
from ckpt_core.transfer.matching.cuts import Step, layer_steps, layer_ways, pack_steps, pack_ways
from ckpt_core.transfer.matching.flattening import flatten_ops
from ckpt_core.transfer.matching.units import Family, Index, Unit
from ckpt_core.transfer.matching.ways import Way, goes_along, part_ops, ways
from ckpt_core.transfer.ops import Deal, Op, Stack, Unstack

__all__ = ["Pairing", "pairing", "steps_of"]


@dataclass(frozen=True)
class Pairing:
    """Two families that fit each other.

    Arguments:
        pairs: the units, by the numbers of the blocks in order.
        form: "" for layer to layer, "cut" for a layer that the other side cuts up in another way, "pack" for a packed
            matrix and its pieces.
        across: "" where both sides have as many units, "stack" for many sources in one target, "unstack" for the
            reverse.
        ways: the names of the ways that fit every pair, usual ones first.
        usual: those of them that are what the frameworks' own layers need.
    """

    pairs: tuple[tuple[Unit, Unit], ...]
    form: str
    across: str
    ways: tuple[str, ...]
    usual: frozenset[str]


def pairing(source: Family, target: Family, styles: tuple[str, str]) -> Pairing | None:
    """Pair the units of two families; None where they do not fit."""
    counts = len(source.units), len(target.units)
    if counts[0] == counts[1]:
        across, pairs = "", _in_order(source, target)
    elif counts[1] == 1 and _alike(source):
        across, pairs = "stack", [(unit, target.first) for unit in source.units.values()]
    elif counts[0] == 1 and _alike(target):
        across, pairs = "unstack", [(source.first, unit) for unit in target.units.values()]
    else:
        return None
    if not pairs:
        return None
    likes = pairs if not across else [_one_layer(pairs[0], across, len(pairs))]
    form = _form(*pairs[0])
    if form is None or None in likes:
        return None
    possible = (_ways_of(form, *like, styles) for like in likes if like)
    return _with_common_ways(pairs, (form, across), possible)


def _ways_of(form: str, source: Unit, target: Unit, styles: tuple[str, str]) -> list[Way]:
    if form == "cut":
        return layer_ways(source, target, styles)
    return pack_ways(source, target, styles) if form == "pack" else ways(source, target, styles)


def _form(one: Unit, other: Unit) -> str | None:
    """What kind of layers two are; None where they are of different kinds."""
    if one.members or other.members:
        return "cut" if one.members and other.members else None
    if one.pieces or other.pieces:
        return "pack" if bool(one.pieces) != bool(other.pieces) else None
    return ""


def _one_layer(pair: tuple[Unit, Unit], across: str, count: int) -> tuple[Unit, Unit] | None:
    """A pair with one layer in place of the stack; None where it has not that many."""
    if not across:
        return pair
    layer = _layer_of(pair[across == "stack"], count)
    if layer is None:
        return None
    return (pair[0], layer) if across == "stack" else (layer, pair[1])


def _with_common_ways(
    pairs: list[tuple[Unit, Unit]], kind: tuple[str, str], possible: Iterable[list[Way]]
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
    return Pairing(tuple(pairs), *kind, tuple(common), usual)


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
    return len({tuple(slot.spec for slot in unit.slots) for unit in family.units.values()}) == 1


def _layer_of(unit: Unit, count: int) -> Unit | None:
    """The unit of one layer of a stack of `count`; None where an array has no such leading axis."""
    if any(slot.spec.shape[:1] != (count,) for slot in unit.slots):
        return None
    pieces = tuple(piece for piece in (_layer_of(piece, count) for piece in unit.pieces) if piece)
    parts = {name: _sliced(slot) for name, slot in unit.parts.items()} if not unit.pieces else unit.parts
    members = {name: _sliced(slot) for name, slot in unit.members.items()}
    return replace(unit, parts=parts if not members else unit.parts, members=members, pieces=pieces)


def _sliced(slot: Slot) -> Slot:
    return replace(slot, spec=ArraySpec(slot.spec.shape[1:], slot.spec.dtype))


def steps_of(pair: tuple[Unit, Unit], way: str, found: Pairing, styles: tuple[str, str]) -> list[Step]:
    """Return the steps of one pair; those of a stack are all layers' at once.

    Arguments:
        pair: the units.
        way: the name of the way of the weight.
        found: the pairing that has the pair.
        styles: the frameworks whose layouts the two sides have.
    """
    count = len(found.pairs)
    layers = _one_layer(pair, found.across, count)
    assert layers is not None
    source, target = layers
    if found.form == "cut":
        steps = layer_steps(source, target, styles) or []
    elif found.form == "pack":
        steps = pack_steps(source, target, way, styles)
    else:
        steps = [
            Step((source.parts[part],), (slot,), _ops(source, target, part, way, styles))
            for part, slot in target.parts.items()
        ]
    return [replace(step, ops=_across(step, found.across, count)) for step in steps]


def _across(step: Step, across: str, count: int) -> tuple[Op, ...]:
    """The chain of a step for all layers, whose arrays come layer by layer."""
    if not across or not step.sources:
        return step.ops
    if across == "stack":
        many = len(step.targets)
        return (*step.ops, *((Deal(many), Stack(parts=count)) if many > 1 else (Stack(),)))
    return (Unstack(), *((Deal(count),) if len(step.sources) > 1 else ()), *step.ops)


def _ops(source: Unit, target: Unit, part: str, way: str, styles: tuple[str, str]) -> tuple[Op, ...]:
    specs = source.parts[part].spec, target.parts[part].spec
    if way.startswith("flatten"):
        return flatten_ops(way, part, *specs, styles[0])
    chosen = next(option for option in ways(source, target, styles) if option.name == way)
    if part == "weight" or goes_along(source, target, part):
        return chosen.ops
    return part_ops(*specs) or () if chosen.others is None else chosen.others
