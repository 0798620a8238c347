"""Flattening: a dense layer beside convolutions whose width no other layer has may see, or make, flattened images.

torch flattens (C, H, W) and Flax (H, W, C), so such a layer needs its rows in another order. The weights show the
product of the three alone: H and W have to be asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ckpt_core.arrays import ArraySpec
from ckpt_core.transfer.matching.units import Unit
from ckpt_core.transfer.ops import Op, Reshape, Transpose, inverse_chain

__all__ = ["Widths", "flatten_ops", "flatten_ways", "widths_of"]

_FEWEST: Final = 4
"""Fewer positions than these, or channels, are a coincidence on the way out of a dense layer."""


@dataclass(frozen=True)
class Widths:
    """The widths in a model: what layers put out and take in, and the channels of convolutions."""

    made: frozenset[int]
    taken: frozenset[int]
    channels_made: frozenset[int]
    channels_taken: frozenset[int]


def widths_of(units: Iterable[Unit], style: str) -> Widths:
    """Collect the widths of the layers of one side."""
    made, taken, channels = set[int](), set[int](), (set[int](), set[int]())
    for unit in units:
        for slot in unit.parts.values():
            shape = slot.spec.shape
            if len(shape) == 1:
                made.add(shape[0])
                taken |= {shape[0]} if "weight" in unit.parts and len(unit.main.spec.shape) == 1 else set()
        shape = unit.main.spec.shape
        if len(shape) < 2:
            continue
        if unit.bare or unit.main.path[-1] == "embedding":
            made.add(shape[-1])
            continue
        into, out = (shape[1], shape[0]) if style == "torch" else (shape[-2], shape[-1])
        if len(shape) == 2:
            made.add(out)
            taken.add(into)
        else:
            bias = unit.parts["bias"].spec.shape if "bias" in unit.parts else ()
            forms = (
                ((into, out), (out, into))
                if not bias or into == out
                else ((into, out),)
                if bias == (out,)
                else ((out, into),)
            )
            for start, end in forms:  # a transposed convolution has its ends the other way round
                made.add(end)
                taken.add(start)
                channels[0].add(end)
                channels[1].add(start)
    return Widths(frozenset(made), frozenset(taken), frozenset(channels[0]), frozenset(channels[1]))


def flatten_ways(torch: Unit, widths: Widths) -> tuple[str, ...]:
    """Return the ways a dense layer may have to go, where it may be one at a flattening; none where it is not.

    Arguments:
        torch: the layer on the side that has torch's layouts.
        widths: those of the model on that side.
    """
    shape = torch.main.spec.shape
    if len(shape) != 2 or torch.bare or not widths.channels_made:
        return ()
    out, into = shape
    if into not in widths.made and not {2 * into, 3 * into} & widths.made:
        counts = [c for c in widths.channels_made if 1 < c < into and into % c == 0]
        found = [way for c in sorted(counts, reverse=True) for way in _square("in", c, into // c)]
        if counts:
            return (*found[:3], "transpose")
    if out not in widths.taken and not {2 * out, out // 2} & widths.taken and "bias" in torch.parts:
        counts = [c for c in widths.channels_taken if c >= _FEWEST and out % c == 0 and out // c >= _FEWEST]
        found = [way for c in sorted(counts, reverse=True) for way in _square("out", c, out // c)]
        if counts:
            return (*found[:3], "transpose")
    return ()


def _square(end: str, channels: int, positions: int) -> list[str]:
    side = math.isqrt(positions)
    return [f"flatten {end} {channels}x{side}x{side}"] if side * side == positions else []


def flatten_ops(way: str, part: str, source: ArraySpec, target: ArraySpec, style: str) -> tuple[Op, ...]:
    """Return the chain of a part for a way that `flatten_ways` named."""
    _, end, sizes = way.split()
    c, h, w = map(int, sizes.split("x"))
    torch, flax = (source, target) if style == "torch" else (target, source)
    if part == "weight" and end == "in":
        ops: tuple[Op, ...] = (Reshape((-1, c, h, w)), Transpose((2, 3, 1, 0)), Reshape(flax.shape))
    elif end == "in":
        ops = ()
    elif part == "weight":
        ops = (Reshape((c, h, w, -1)), Transpose((3, 1, 2, 0)), Reshape(flax.shape))
    else:
        ops = (Reshape((c, h, w)), Transpose((1, 2, 0)), Reshape(flax.shape))
    if style == "torch":
        return ops
    back = inverse_chain(ops, (torch,))
    assert isinstance(back, tuple)
    return back
