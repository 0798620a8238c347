"""Stacks: layers that are arrays of their own on one side, and lie along an axis of one array on the other.

Scanned layers, vmapped experts, and experts within scanned layers, which have an axis each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from ckpt_core.arrays import ArraySpec
from ckpt_core.framework import Slot
from ckpt_core.transfer.matching.cuts import Step
from ckpt_core.transfer.matching.families import Family, Index, lists_of
from ckpt_core.transfer.matching.units import Unit
from ckpt_core.transfer.matching.words import singular
from ckpt_core.transfer.ops import Deal, Op, Stack, Unstack

__all__ = [
    "along",
    "layer_of",
    "layers_of_stacks",
    "possible_counts",
    "ranked",
    "stacked_ops",
    "way_and_axis",
]

_ALONG: Final = " along the second axis"
"""In the name of a way: the layers are stacked along that axis, as scans may have it."""


def along(way: str, axis: int) -> str:
    """Return the name of a way for layers that are stacked along an axis: the first one, or the second."""
    return f"{way}{_ALONG}" if axis else way


def way_and_axis(way: str) -> tuple[str, int]:
    """Return what `along` was given."""
    return way.removesuffix(_ALONG), int(way.endswith(_ALONG))


def layers_of_stacks(layers: Family, stacks: Family) -> list[tuple[Unit, Unit]] | None:
    """Return each layer with the stack that it is in; None where that is not clear.

    Arguments:
        layers: the layers, more than there are stacks.
        stacks: one stack, or one for each number that the layers have outermost, or innermost.
    """
    if len({tuple(slot.spec for slot in unit.slots) for unit in layers.units.values()}) != 1:
        return None
    if layers.blocks and stacks.blocks and _kept_lists(layers) != _kept_lists(stacks):
        return None
    if len(stacks.units) == 1:
        return [(unit, stacks.first) for unit in layers.units.values()]
    ours, theirs = ranked(layers.units), ranked(stacks.units)
    width, depth = len(next(iter(theirs))), len(next(iter(ours)))
    sides = [slice(0, width), slice(depth - width, depth)] if width < depth else []
    fits = [kept for kept in sides if {rank[kept] for rank in ours} == theirs.keys()]
    if len(fits) != 1:
        return None
    return [
        (layers.units[index], stacks.units[theirs[rank[fits[0]]]]) for rank, index in sorted(ours.items())
    ]


def _kept_lists(family: Family) -> list[str]:
    """What is counted by the numbers of the blocks that tell a family from others."""
    kept = range(len(next(iter(family.units))), len(lists_of(family.pattern[:-1])))
    return [singular(lists_of(family.pattern)[place].lower()) for place in kept]


def ranked(indices: Iterable[Index]) -> dict[Index, Index]:
    """Return each index by the ranks of its numbers, without the places at which all are equal."""
    indices = list(indices)
    columns = [sorted(set(column)) for column in zip(*indices, strict=True)]
    kept = [(place, {n: i for i, n in enumerate(columns[place])}) for place in varying(indices)]
    return {tuple(ranks[index[place]] for place, ranks in kept): index for index in indices}


def varying(indices: Iterable[Index]) -> list[int]:
    """Return the places at which indices have several numbers."""
    return [place for place, column in enumerate(zip(*indices, strict=True)) if len(set(column)) > 1]


def possible_counts(layers: Family, stacks: Family) -> list[Index]:
    """Return the sizes of the axes that a stack may have for its layers: one, or one for each of their numbers."""
    count = len(layers.units) // len(stacks.units)
    sizes = tuple(len(set(column)) for column in zip(*ranked(layers.units), strict=True))
    is_grid = len(stacks.units) == 1 and len(sizes) > 1 and math.prod(sizes) == count
    return [(count,), *([sizes] if is_grid else [])]


def layer_of(stack: Unit, counts: Index, axis: int) -> Unit | None:
    """Return the unit of one layer of a stack; None where an array has not as many along an axis and those behind."""
    end = axis + len(counts)
    if any(slot.spec.shape[axis:end] != counts for slot in stack.slots):
        return None

    def sliced(slot: Slot) -> Slot:
        shape = slot.spec.shape
        return replace(slot, spec=ArraySpec((*shape[:axis], *shape[end:]), slot.spec.dtype))

    pieces = tuple(piece for piece in (layer_of(piece, counts, axis) for piece in stack.pieces) if piece)
    members = {name: sliced(slot) for name, slot in stack.members.items()}
    parts = stack.parts  # of a compound, its place and size alone
    if not pieces and not members:
        parts = {name: sliced(slot) for name, slot in parts.items()}
    return replace(stack, parts=parts, members=members, pieces=pieces)


def stacked_ops(step: Step, across: str, counts: Index, axis: int) -> tuple[Op, ...]:
    """Return the chain of a step of one layer for all layers of a stack, whose arrays come layer by layer.

    Arguments:
        step: what is done with one layer.
        across: "stack", or "unstack" for the reverse.
        counts, axis: the sizes of the axes for the layers, and the first of these.
    """
    if not step.sources:
        return step.ops
    if across == "unstack":
        hands = (Deal(math.prod(counts)),) if len(step.sources) > 1 else ()
        return (*(Unstack(axis) for _ in counts), *hands, *step.ops)
    many = len(step.targets)
    inner = [Stack(axis, count) for count in counts[:0:-1]]
    outer = Stack(axis, counts[0] if many > 1 else 0)
    return (*step.ops, *((Deal(many),) if many > 1 else ()), *inner, outer)
