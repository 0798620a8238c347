"""Cuts: the steps from a compound to its counterpart, array by array."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from ckpt_core.arrays import ArraySpec
from ckpt_core.errors import UsageError
from ckpt_core.framework import Slot
from ckpt_core.layers import Layer
from ckpt_core.transfer.layers import layer_rules
from ckpt_core.transfer.matching.compounds import cut_rows
from ckpt_core.transfer.matching.units import Unit
from ckpt_core.transfer.matching.way import Way
from ckpt_core.transfer.matching.ways import BY_HEAD, head_counts, part_ops, ways
from ckpt_core.transfer.ops import (
    Concat,
    Op,
    Reshape,
    Split,
    Stack,
    Transpose,
    Unstack,
    chain_specs,
    inverse_chain,
)

__all__ = ["Step", "layer_steps", "layer_ways", "pack_steps", "pack_ways"]


_PARAMETRIZED: Final = "parametrizations.weight."


@dataclass(frozen=True)
class Step:
    """Some arrays through a chain of ops into others."""

    sources: tuple[Slot, ...]
    targets: tuple[Slot, ...]
    ops: tuple[Op, ...]


# Rows of the table of layers.


def layer_ways(source: Unit, target: Unit, styles: tuple[str, str]) -> list[Way]:
    """Return the one way between two layers where a row of the table fits both."""
    return [] if layer_steps(source, target, styles) is None else [Way("layer", True)]


def layer_steps(source: Unit, target: Unit, styles: tuple[str, str]) -> list[Step] | None:
    """Return the steps between two layers by the row that fits both; None where none does, or several that differ."""
    torch, flax = (source, target) if styles[0] == "torch" else (target, source)
    rows = cut_rows()
    types = {name for row in rows for name in row.torch}
    rows = [row for row in rows if _may_be(row, torch, flax, types)]
    found = [steps for steps in (_by_row(row, torch, flax) for row in rows) if steps is not None]
    if not found or any(steps != found[0] for steps in found):
        return None
    return found[0] if styles[0] == "torch" else _turned(found[0])


def _may_be(row: Layer, torch: Unit, flax: Unit, types: set[str]) -> bool:
    """Say whether neither the type of a layer nor its settings speak against a row.

    What a layer within it holds says nothing of the layer itself.
    """
    own = [slot for name, slot in torch.members.items() if "." not in name.removeprefix(_PARAMETRIZED)]
    kinds = {str(slot.layer.get("type", "")) for slot in own} & types
    settings = {name: value for slot in flax.members.values() for name, value in slot.layer.items()}
    return (not kinds or bool(kinds & set(row.torch))) and all(
        settings.get(name, value) == value for name, value in row.when
    )


def _by_row(row: Layer, torch: Unit, flax: Unit) -> list[Step] | None:
    """The steps of one row, where it places every array of both and the shapes fit."""
    try:
        rules = layer_rules(row, set(torch.members), settings=_settings(row, flax.members))
    except UsageError:
        return None
    lines = [
        line
        for line in row.lines
        if line.without not in torch.members and all(name in torch.members for name in line.source)
    ]
    steps = []
    placed: set[str] = set()
    for line, rule in zip(lines, rules, strict=True):
        names = [name.replace("\\/", "/") for name in line.target]
        if not all(name in flax.members for name in names):
            return None
        placed.update(names)
        step = Step(
            tuple(torch.members[name] for name in line.source),
            tuple(flax.members[name] for name in names),
            rule.ops,
        )
        if step.sources and not _fits(step):
            return None
        steps.append(step)
    return steps if placed == flax.members.keys() else None


def _settings(row: Layer, flax: Mapping[str, Slot]) -> dict[str, int]:
    """The number of heads and their width, from the shape of what has an axis for each."""
    shapes = [
        slot.spec.shape
        for name, slot in flax.items()
        if name.endswith("kernel") and not name.startswith("out") and len(slot.spec.shape) == 3
    ]
    known = dict(zip(("num_heads", "head_dim"), shapes[0][1:], strict=True)) if shapes else {}
    return {name: known[name] for name in row.settings if name in known}


def _fits(step: Step) -> bool:
    try:
        after = chain_specs(step.ops, tuple(slot.spec for slot in step.sources))
    except UsageError:
        return False
    return [spec.shape for spec in after] == [slot.spec.shape for slot in step.targets]


def _turned(steps: list[Step]) -> list[Step] | None:
    turned = []
    for step in steps:
        if not step.sources:
            return None  # what the torch layer lacks may have been learned
        chain = inverse_chain(step.ops, tuple(slot.spec for slot in step.sources))
        if not isinstance(chain, tuple):
            return None
        turned.append(Step(step.targets, step.sources, chain))
    return turned


# Packed matrices.


def pack_ways(source: Unit, target: Unit, styles: tuple[str, str]) -> list[Way]:
    """Return the ways from a packed unit to its pieces, or from pieces to a packed unit."""
    packed, pieces = (source, target.pieces) if target.pieces else (target, source.pieces)
    style = styles[0] if target.pieces else styles[1]
    cut = _cut(packed, pieces, style)
    if cut is None:
        return []
    common: dict[str, Way] | None = None
    for part, piece in zip(cut, pieces, strict=True):
        found = {
            way.name: way
            for way in (ways(part, piece, styles) if target.pieces else ways(piece, part, styles))
        }
        common = (
            found
            if common is None
            else {n: w for n, w in common.items() if n in found and found[n].ops == w.ops}
        )
    plain = list((common or {}).values())
    if not packed.may_be_interleaved:
        return plain
    by_head = [
        replace(way, name=f"{way.name}{BY_HEAD}{count} heads")
        for count in _heads_of(pieces)
        for way in plain
        if way.usual
    ]
    return [*plain, *by_head]


def _heads_of(pieces: tuple[Unit, ...]) -> list[int]:
    """The numbers of heads that there may be; one where the pieces have an axis for them."""
    outs = {_out(piece) for piece in pieces}
    if len(outs) != 1:
        return []
    shapes = [piece.main.spec.shape for piece in pieces if len(piece.main.spec.shape) == 3]
    if shapes:
        return [shapes[0][1]]
    return head_counts(outs.pop())


def pack_steps(source: Unit, target: Unit, way: str, styles: tuple[str, str]) -> list[Step]:
    """Return the steps of one of these ways."""
    unpacks = bool(target.pieces)
    packed, pieces = (source, target.pieces) if unpacks else (target, source.pieces)
    style = styles[0] if unpacks else styles[1]
    cut = _cut(packed, pieces, style)
    assert cut is not None
    name, _, heads = way.partition(BY_HEAD)
    steps = []
    for part, slot in packed.parts.items():
        axis, turned = _out_axis(packed, pieces, style) if part == "weight" else (0, False)
        specs = tuple(piece.parts[part].spec for piece in cut)
        ends = (specs[0], pieces[0].parts[part].spec)
        before, after = ends if unpacks else (ends[1], ends[0])
        if part == "weight":
            options = ways(cut[0], pieces[0], styles) if unpacks else ways(pieces[0], cut[0], styles)
            ops = next(option.ops for option in options if option.name == name)
        else:
            ops = part_ops(before, after) or ()
        turn = (Transpose((1, 0)),) if turned else ()
        others = tuple(piece.parts[part] for piece in pieces)
        apart, together = _cutting(specs, axis, int(heads.split()[0]) if heads else 0)
        if unpacks:
            steps.append(Step((slot,), others, (*turn, *apart, *ops)))
        else:
            steps.append(Step(others, (slot,), (*ops, *together, *turn)))
    return steps


def _cutting(specs: tuple[ArraySpec, ...], axis: int, heads: int) -> tuple[tuple[Op, ...], tuple[Op, ...]]:
    """The ops that take a packed array apart along an axis, and those that put it together."""
    sizes = tuple(spec.shape[axis] for spec in specs)
    if not heads:
        split = Split(axis, len(sizes)) if len(set(sizes)) == 1 else Split(axis, sizes=sizes)
        return (split,), (Concat(axis, len(sizes)),)
    shape, width = specs[0].shape, sizes[0] // heads
    before, behind = shape[:axis], shape[axis + 1 :]
    whole, each = (*before, heads, len(sizes), width, *behind), (*before, heads, width, *behind)
    return (
        (Reshape(whole), Unstack(axis + 1), Reshape(shape)),
        (Reshape(each), Stack(axis + 1, len(sizes)), Reshape((*before, sum(sizes), *behind))),
    )


def _cut(packed: Unit, pieces: tuple[Unit, ...], style: str) -> list[Unit] | None:
    """The parts of a packed unit, each as a unit of its own; None where the sizes do not add up."""
    if len(packed.main.spec.shape) != 2 or packed.parts.keys() != pieces[0].parts.keys():
        return None
    axis, turned = _out_axis(packed, pieces, style)
    shape = packed.main.spec.shape[::-1] if turned else packed.main.spec.shape
    outs = [_out(piece) for piece in pieces]
    if shape[axis] != sum(outs) or (
        "bias" in packed.parts and packed.parts["bias"].spec.shape != (sum(outs),)
    ):
        return None
    cut = []
    for piece, out in zip(pieces, outs, strict=True):
        sized = tuple(out if i == axis else size for i, size in enumerate(shape))
        parts = {
            part: replace(slot, spec=ArraySpec(sized if part == "weight" else (out,), slot.spec.dtype))
            for part, slot in packed.parts.items()
        }
        cut.append(replace(packed, path=piece.path, parts=parts))
    return cut


def _out_axis(packed: Unit, pieces: tuple[Unit, ...], style: str) -> tuple[int, bool]:
    """The axis of the outputs once the matrix is as its framework has it, and whether it has to be turned for that."""
    total = sum(map(_out, pieces))
    usual = 0 if style == "torch" else 1
    shape = packed.main.spec.shape
    return usual, shape[usual] != total and shape[1 - usual] == total


def _out(piece: Unit) -> int:
    """The number of outputs of a dense layer, heads and their widths multiplied."""
    shape = piece.main.spec.shape
    bias = piece.parts.get("bias")
    if bias is not None:
        return math.prod(bias.spec.shape)
    if len(shape) == 3:
        return shape[1] * shape[2]
    return shape[0] if piece.main.path[-1] == "weight" else shape[1]
