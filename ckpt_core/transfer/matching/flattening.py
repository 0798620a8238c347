"""Flattening: a layer that may see, or make, a flattened image.

torch flattens (C, H, W) and Flax (H, W, C), so such a layer needs its rows in another order. The weights show the
product of the three alone. Widths tell where that can be: the features of a layer come from channels, tables, states,
or from layers whose own features do; a width that does not may be an image beside convolutions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ckpt_core.arrays import ArraySpec
from ckpt_core.transfer.matching.units import Unit
from ckpt_core.transfer.matching.words import read_segment
from ckpt_core.transfer.ops import Op, Reshape, Transpose, inverse_chain

__all__ = ["Widths", "flatten_ops", "flatten_ways", "widths_of"]

_FEWEST: Final = 4
"""Fewer positions than these, or channels, are a coincidence on the way out of a dense layer."""
_MOST: Final = 3
"""As many ways are named; the layer next to a convolution has its channels first."""
_CHANCE: Final = 12
"""As many names may be in the order of the alphabet by chance."""
_OF_CHANNELS: Final = ("BatchNorm2d", "BatchNorm3d", "GroupNorm", "InstanceNorm2d", "InstanceNorm3d")
"""Norms whose width is a number of channels; others may norm what is flattened."""


class _Layer(NamedTuple):
    """The ends of a layer, and its place in the order of definition."""

    place: int
    taken: int
    made: int


@dataclass(frozen=True)
class Widths:
    """Where the widths in a model come from.

    Arguments:
        known: widths that are channels, tables or states.
        entries: widths that dense layers take and that come from nowhere, or only from layers that they lead to.
        dense, channels: the layers in order, and those of channels: convolutions, which stand in both directions
            where they may be transposed ones, and norms that are known to be of channels.
        in_order: whether the layers stand in the order in which they are called, as far as can be seen.
    """

    known: frozenset[int]
    entries: frozenset[int]
    dense: tuple[_Layer, ...]
    channels: tuple[_Layer, ...]
    in_order: bool


def widths_of(units: Sequence[Unit], kernels: frozenset[tuple[str, ...]] = frozenset()) -> Widths:
    """Collect the widths of the layers of the side that has torch's layouts.

    Arguments:
        units: the layers in order.
        kernels: the paths of those that are no tables, whatever their names say.
    """
    dense: list[_Layer] = []
    channels: list[_Layer] = []
    known = set[int]()
    for unit in units:
        shape = unit.main.spec.shape
        if "weight" in unit.parts and not unit.bare and len(shape) > 2:
            channels += _ends(unit)
        elif "weight" in unit.parts and not unit.bare and len(shape) == 2:
            if "Embedding" in unit.layer_type or (unit.path not in kernels and _is_named_embedding(unit)):
                known.add(shape[1])
            else:
                dense.append(_Layer(unit.position, *(shape if _is_input_first(unit) else shape[::-1])))
        elif unit.path[-1].startswith("weight_hh"):
            known |= {shape[-1], 2 * shape[-1]} if unit.path[-1].endswith("reverse") else {shape[-1]}
        elif len(shape) > 1 and not unit.path[-1].startswith("weight_ih"):
            known.add(shape[-1])
        elif unit.layer_type in _OF_CHANNELS:
            channels.append(_Layer(unit.position, shape[0], shape[0]))
    known |= {width for layer in channels for width in (layer.taken, layer.made)}
    in_order = _is_in_order(channels) and not _is_sorted(units)
    return Widths(frozenset(known), _entries(dense, known), tuple(dense), tuple(channels), in_order)


def _is_in_order(channels: Sequence[_Layer]) -> bool:
    """Say whether most convolutions take what the one before makes."""
    by_place: dict[int, list[_Layer]] = {}
    for layer in channels:
        by_place.setdefault(layer.place, []).append(layer)
    steps = list(itertools.pairwise(by_place.values()))
    fits = [any(a.made == b.taken for a in before for b in after) for before, after in steps]
    return 2 * sum(fits) >= len(fits)


def _is_sorted(units: Sequence[Unit]) -> bool:
    """Say whether a container that sorts its names has taken the order away; few names are sorted by chance."""
    names = [".".join((*unit.path, "")) for unit in units]
    return len(names) > _CHANCE and names == sorted(names)


def _is_input_first(unit: Unit) -> bool:
    """Say whether the bias shows that a matrix has its inputs first, as some layers of torch's have."""
    shape = unit.main.spec.shape
    bias = unit.parts["bias"].spec.shape if "bias" in unit.parts else shape[:1]
    return bias == shape[1:] != shape[:1]


def _is_named_embedding(unit: Unit) -> bool:
    """Say whether a matrix is named as a table; a dense layer within an embedding has a bias, and a table none."""
    return (
        "bias" not in unit.parts
        and not unit.layer_type
        and any(
            token.concept == "embedding"
            for segment in unit.path[-2:]
            for token in read_segment(segment).tokens
        )
    )


def _ends(unit: Unit) -> Iterator[_Layer]:
    """What a convolution takes and makes: without a type or a telling bias it may be a transposed one."""
    first, second = unit.main.spec.shape[:2]
    bias = unit.parts["bias"].spec.shape if "bias" in unit.parts else None
    turned = "Transpose" in unit.layer_type
    if not turned and bias in (None, (first,)):
        yield _Layer(unit.position, second, first)
    if turned or (not unit.layer_type and bias in (None, (second,))):
        yield _Layer(unit.position, first, second)


def _entries(dense: Iterable[_Layer], known: set[int]) -> frozenset[int]:
    """The widths from which all that has no source is reached: one of each ring of them, and so all of it."""
    leads = {layer.taken: set[int]() for layer in dense}
    for layer in dense:
        leads[layer.taken].add(layer.made)
    reached = {width for width in leads if {width, 2 * width, 3 * width} & known}
    explained = _reach(leads, reached)
    unexplained = leads.keys() - explained
    reach = {width: _reach(leads, {width}) - explained for width in unexplained}
    return frozenset(
        width
        for width in unexplained
        if all(other in reach[width] for other in unexplained if width in reach[other])
    )


def _reach(leads: dict[int, set[int]], start: set[int]) -> set[int]:
    """The widths that layers lead to from some, these included; chunks of what is made are reached, too."""
    found, new = set(start), set(start)
    while new:
        made = {width for taken in new for width in leads.get(taken, ())}
        made |= {width // n for width in made for n in (2, 3) if width % n == 0 and width // n in leads}
        new = made - found
        found |= new
    return found


def flatten_ways(torch: Unit, widths: Widths) -> tuple[str, ...]:
    """Return the ways a layer may have to go, where it may be one at a flattening; none where it is not.

    Arguments:
        torch: the layer on the side that has torch's layouts: a dense one, a norm, or a recurrent one.
        widths: those of the model on that side.
    """
    if "weight_ih" in torch.members:
        return ("layer",) if _before_a_vector(torch, torch.members["weight_ih"].spec.shape[1], widths) else ()
    shape = torch.main.spec.shape
    if torch.bare or "weight" not in torch.parts or torch.layer_type in _OF_CHANNELS:
        return ()
    if len(shape) == 1:
        found = _before_a_vector(torch, shape[0], widths)
        return (*_named("vector", shape[0], found), "same") if found else ()
    if len(shape) != 2 or _is_input_first(torch):
        return ()
    found = _before_dense(torch, shape[1], widths)
    if found:
        return (*_named("in", shape[1], found), "transpose")
    found = _behind_dense(torch, shape[0], widths)
    return (*_named("out", shape[0], found), "transpose") if found else ()


def _before_dense(torch: Unit, width: int, widths: Widths) -> list[int]:
    """The channels of the image that a dense layer may see."""
    others = [layer for layer in widths.dense if layer.place != torch.position]
    is_open = width in widths.entries or _is_behind_channels(torch, width, widths, others)
    return _channels_in(torch, width, widths) if is_open else []


def _before_a_vector(torch: Unit, width: int, widths: Widths) -> list[int]:
    """The channels of the image that a norm or a recurrent layer may see."""
    is_known = width in widths.known or any(layer.made == width for layer in widths.dense)
    before = [layer for layer in widths.dense if layer.place < torch.position]
    is_open = width in widths.entries or not is_known or _is_behind_channels(torch, width, widths, before)
    return _channels_in(torch, width, widths) if is_open else []


def _is_behind_channels(torch: Unit, width: int, widths: Widths, makers: Iterable[_Layer]) -> bool:
    """Say whether the convolution before a layer makes channels that the width is a multiple of.

    A dense layer among the makers may have made the width, and a convolution behind it takes joined channels.
    """
    nearest, following = _nearest(torch, widths)
    made = any(layer.made == width or _is_gate_of(layer, torch, width, widths) for layer in makers)
    is_multiple = width not in nearest and any(_divides(count, width, _FEWEST) for count in nearest)
    return is_multiple and not made and width not in following


def _is_gate_of(layer: _Layer, torch: Unit, width: int, widths: Widths) -> bool:
    """Say whether a dense layer makes the values and the gates of a width (GLU), with no convolution in between."""
    if layer.made != 2 * width or layer.place > torch.position:
        return False
    return not any(layer.place < other.place < torch.position for other in widths.channels)


def _nearest(torch: Unit, widths: Widths) -> tuple[set[int], set[int]]:
    """What the convolution before a layer makes, and the one behind it takes; nothing where the order does not say."""
    if not widths.in_order:
        return set(), set()
    before = [layer for layer in widths.channels if layer.place < torch.position]
    behind = [layer for layer in widths.channels if layer.place > torch.position]
    return (
        {layer.made for layer in before if layer.place == before[-1].place},
        {layer.taken for layer in behind if layer.place == behind[0].place},
    )


def _channels_in(torch: Unit, width: int, widths: Widths) -> list[int]:
    nearest, _ = _nearest(torch, widths)
    counts = {layer.made for layer in widths.channels if _divides(layer.made, width)}
    return sorted(counts, key=lambda count: (count not in nearest, -count))


def _behind_dense(torch: Unit, width: int, widths: Widths) -> list[int]:
    """The channels of the image that a dense layer may make: nothing that is defined later takes its features."""
    features = {width, 2 * width} | {width // n for n in (2, 3) if width % n == 0}
    takes = [layer for layer in widths.dense if layer.taken in features and layer.place > torch.position]
    if takes or features & {layer.taken for layer in widths.channels}:
        return []
    _, following = _nearest(torch, widths)
    counts = {layer.taken for layer in widths.channels if _divides(layer.taken, width, _FEWEST)}
    return sorted(counts, key=lambda count: (count not in following, -count))


def _divides(channels: int, width: int, fewest: int = 2) -> bool:
    return fewest <= channels and channels * fewest <= width and width % channels == 0


def _named(end: str, width: int, channels: list[int]) -> list[str]:
    """The ways by the sizes of the image; only the number of positions counts, so what is no square is a row."""
    names = []
    for count in channels[:_MOST]:
        positions = width // count
        side = math.isqrt(positions)
        sizes = f"{side}x{side}" if side * side == positions else f"{positions}x1"
        names.append(f"flatten {end} {count}x{sizes}")
    return names


def flatten_ops(way: str, part: str, source: ArraySpec, target: ArraySpec, style: str) -> tuple[Op, ...]:
    """Return the chain of a part for a way that `flatten_ways` named."""
    _, end, sizes = way.split()
    c, h, w = map(int, sizes.split("x"))
    torch, flax = (source, target) if style == "torch" else (target, source)
    if end == "vector" or (end == "out" and part != "weight"):
        ops: tuple[Op, ...] = (Reshape((c, h, w)), Transpose((1, 2, 0)), Reshape(flax.shape))
    elif part != "weight":
        ops = ()
    elif end == "in":
        ops = (Reshape((-1, c, h, w)), Transpose((2, 3, 1, 0)), Reshape(flax.shape))
    else:
        ops = (Reshape((c, h, w, -1)), Transpose((3, 1, 2, 0)), Reshape(flax.shape))
    if style == "torch":
        return ops
    back = inverse_chain(ops, (torch,))
    assert isinstance(back, tuple)
    return back
