"""Pairing: which block of a source family is which block of a target family, and the ways that fit all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from ckpt_core.transfer.matching.cuts import Step, layer_steps, layer_ways, pack_steps, pack_ways
from ckpt_core.transfer.matching.families import Family, Index, lists_of
from ckpt_core.transfer.matching.flattening import flatten_ops
from ckpt_core.transfer.matching.stacks import (
    along,
    layer_of,
    layers_of_stacks,
    possible_counts,
    ranked,
    stacked_ops,
    varying,
    way_and_axis,
)
from ckpt_core.transfer.matching.units import Unit
from ckpt_core.transfer.matching.vocabulary import GENERIC
from ckpt_core.transfer.matching.way import Way
from ckpt_core.transfer.matching.ways import goes_along, part_ops, ways
from ckpt_core.transfer.matching.words import read_segment
from ckpt_core.transfer.ops import Op

__all__ = ["Pairing", "pairing", "steps_of"]

_PLAIN: Final = GENERIC | {""}
"""Words for a list that tell it from no other."""


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
        counts: the sizes of the axes that a stack has for its layers.
    """

    pairs: tuple[tuple[Unit, Unit], ...]
    form: str
    across: str
    ways: tuple[str, ...]
    usual: frozenset[str]
    counts: Index = ()


def pairing(source: Family, target: Family, styles: tuple[str, str]) -> Pairing | None:
    """Pair the units of two families; None where they do not fit."""
    if len(source.units) == len(target.units):
        pairs = _in_order(source, target)
        form = _form(*pairs[0]) if pairs else None
        if pairs is None or form is None:
            return None
        return _with_common_ways(pairs, form, (_ways_of(form, *pair, styles) for pair in pairs))
    if len(source.units) > len(target.units):
        return _stacked(source, target, "stack", styles)
    return _stacked(target, source, "unstack", styles)


def _stacked(layers: Family, stacks: Family, across: str, styles: tuple[str, str]) -> Pairing | None:
    """Pair layers with the stacks that hold them."""
    found = layers_of_stacks(layers, stacks)
    form = _form(*found[0]) if found else None
    if found is None or form is None:
        return None
    pairs = found if across == "stack" else [(stack, layer) for layer, stack in found]
    for counts in possible_counts(layers, stacks):
        possible = _ways_of_stack(form, pairs[0], (across, counts), styles)
        made = _with_common_ways(pairs, form, [possible], across, counts)
        if made:
            return made
    return None


def _ways_of(form: str, source: Unit, target: Unit, styles: tuple[str, str]) -> list[Way]:
    if form == "cut":
        return layer_ways(source, target, styles)
    return pack_ways(source, target, styles) if form == "pack" else ways(source, target, styles)


def _ways_of_stack(
    form: str, pair: tuple[Unit, Unit], stack: tuple[str, Index], styles: tuple[str, str]
) -> list[Way]:
    """The ways of one layer, for each axis that the layers may be stacked along."""
    found = []
    for axis in (0, 1):
        layer = _one_layer(pair, *stack, axis)
        ways_there = _ways_of(form, *layer, styles) if layer else []
        found += [replace(way, name=along(way.name, axis)) for way in ways_there]
    return found


def _form(one: Unit, other: Unit) -> str | None:
    """What kind of layers two are; None where they are of different kinds."""
    if one.members or other.members:
        return "cut" if one.members and other.members else None
    if one.pieces or other.pieces:
        return "pack" if bool(one.pieces) != bool(other.pieces) else None
    return ""


def _one_layer(pair: tuple[Unit, Unit], across: str, counts: Index, axis: int) -> tuple[Unit, Unit] | None:
    """A pair with one layer in place of the stack; None where it has not that many along an axis."""
    if not across:
        return pair
    layer = layer_of(pair[across == "stack"], counts, axis)
    if layer is None:
        return None
    return (pair[0], layer) if across == "stack" else (layer, pair[1])


def _with_common_ways(
    pairs: list[tuple[Unit, Unit]],
    form: str,
    possible: Iterable[list[Way]],
    across: str = "",
    counts: Index = (),
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
    return Pairing(tuple(pairs), form, across, tuple(common), usual, counts)


def _in_order(source: Family, target: Family) -> list[tuple[Unit, Unit]] | None:
    """Pair by numeric rank: number by number where both have as many, else in the order of all together."""
    ours, theirs = ranked(source.units), ranked(target.units)
    if len(next(iter(ours))) != len(next(iter(theirs))):
        return list(zip(source.units.values(), target.units.values(), strict=True))
    order = _order_of_lists(source, target)
    theirs = {tuple(rank[place] for place in order): index for rank, index in theirs.items()}
    if ours.keys() != theirs.keys():
        return None
    return [(source.units[index], target.units[theirs[rank]]) for rank, index in sorted(ours.items())]


def _order_of_lists(source: Family, target: Family) -> list[int]:
    """For each varying number of a source, the place of the target's that counts the same: named so, or in order."""
    ours, theirs = (_counted(family) for family in (source, target))
    named = {
        place: theirs.index(word)
        for place, word in enumerate(ours)
        if word not in _PLAIN and ours.count(word) == theirs.count(word) == 1
    }
    rest = iter([place for place in range(len(theirs)) if place not in named.values()])
    return [named[place] if place in named else next(rest) for place in range(len(ours))]


def _counted(family: Family) -> list[str]:
    """What the varying numbers of a family count, as concepts."""
    lists = lists_of(family.pattern)
    tokens = [read_segment(lists[place]).tokens for place in varying(family.units)]
    return [found[-1].concept if found else "" for found in tokens]


def steps_of(pair: tuple[Unit, Unit], way: str, found: Pairing, styles: tuple[str, str]) -> list[Step]:
    """Return the steps of one pair; those of a stack are all layers' at once.

    Arguments:
        pair: the units.
        way: the name of the way of the weight.
        found: the pairing that has the pair.
        styles: the frameworks whose layouts the two sides have.
    """
    way, axis = way_and_axis(way)
    layers = _one_layer(pair, found.across, found.counts, axis)
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
    if not found.across:
        return steps
    return [replace(step, ops=stacked_ops(step, found.across, found.counts, axis)) for step in steps]


def _ops(source: Unit, target: Unit, part: str, way: str, styles: tuple[str, str]) -> tuple[Op, ...]:
    specs = source.parts[part].spec, target.parts[part].spec
    if way.startswith("flatten"):
        return flatten_ops(way, part, *specs, styles[0])
    chosen = next(option for option in ways(source, target, styles) if option.name == way)
    if part == "weight" or goes_along(source, target, part):
        return chosen.ops
    return part_ops(*specs) or () if chosen.others is None else chosen.others
