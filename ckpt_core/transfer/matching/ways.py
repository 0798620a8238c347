"""Ways: how the arrays of one unit become those of another, by shapes, names of parts and types of layers.

A way is a name and what it does to the weight; the other parts are copied or reshaped. Where several ways fit, the
shapes do not tell which is meant: `settled_way` says which evidence does.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from ckpt_core.arrays import ArraySpec
from ckpt_core.transfer.layers import known_layers
from ckpt_core.transfer.matching.alike import alike_ways, unknown_ways
from ckpt_core.transfer.matching.units import Unit
from ckpt_core.transfer.matching.way import DENSE_OF_TORCH, EMBEDDINGS, Shape, Way, moved, reshaped_ways
from ckpt_core.transfer.ops import Flip, Op, Reshape, Transpose, inverse_chain

__all__ = ["BY_HEAD", "goes_along", "head_counts", "part_ops", "ways"]

BY_HEAD: Final = " by "
"""In the name of a way: a packed matrix holds queries, keys and values head by head, not one after another."""
_MOST_HEADS: Final = 6
_USUAL_WIDTH: Final = 64
"""Where the number of heads is not known, those are tried first whose width is nearest to this."""
_MOST_AXES: Final = 3
"""A bias has an axis for queries, keys and values, one for heads and one for their width, at most."""


def ways(source: Unit, target: Unit, styles: tuple[str, str]) -> list[Way]:
    """Return the ways that fit, the usual ones first; none where the units cannot be each other's.

    Arguments:
        source, target: the units.
        styles: the frameworks whose layouts the two sides have.
    """
    if not _parts_fit(source, target) or _are_other_layers(source, target):
        return []
    a, b = source.main.spec, target.main.spec
    if math.prod(a.shape) != math.prod(b.shape):
        return []
    if styles[0] == styles[1]:
        return alike_ways(source, target)
    if "" in styles:
        return unknown_ways(a.shape, b.shape)
    if styles == ("torch", "flax"):
        return _across(source, target)
    return [way for way in (_turned(way, target) for way in _across(target, source)) if way]


def _turned(way: Way, torch: Unit) -> Way | None:
    """The way back; None where an op has none."""
    ops = inverse_chain(way.ops, (torch.main.spec,))
    if not isinstance(ops, tuple):
        return None
    if way.others is None or "bias" not in torch.parts:
        return Way(way.name, way.usual, ops)
    others = inverse_chain(way.others, (torch.parts["bias"].spec,))
    return Way(way.name, way.usual, ops, others) if isinstance(others, tuple) else None


def part_ops(a: ArraySpec, b: ArraySpec) -> tuple[Op, ...] | None:
    """Return the chain for a part that is no weight: a copy, or a reshape to or from heads; None if neither fits."""
    if a.shape == b.shape:
        return ()
    return (
        (Reshape(b.shape),)
        if math.prod(a.shape) == math.prod(b.shape) and _squeezed_or_heads(a.shape, b.shape)
        else None
    )


def goes_along(source: Unit, target: Unit, part: str) -> bool:
    """Say whether a part has the weight's own shape on both sides, of several axes, and so goes the weight's way."""
    return all(
        "weight" in unit.parts and len(unit.main.spec.shape) > 1 and unit.parts[part].spec == unit.main.spec
        for unit in (source, target)
    )


def _squeezed_or_heads(a: Shape, b: Shape) -> bool:
    squeezed = tuple(size for size in a if size != 1) == tuple(size for size in b if size != 1)
    return squeezed or (min(len(a), len(b)) == 1 and max(len(a), len(b)) <= _MOST_AXES)


def _parts_fit(source: Unit, target: Unit) -> bool:
    """Say whether every part of the target has a source, and no learned part of the source is left over."""
    if ("weight" in source.parts) != ("weight" in target.parts):
        return False
    for part, slot in target.parts.items():
        other = source.parts.get(part)
        if other is None:
            return False
        if (
            part != "weight"
            and not goes_along(source, target, part)
            and part_ops(other.spec, slot.spec) is None
        ):
            return False
    return not (source.parts.keys() - target.parts.keys() - {"mean", "var"})


def _are_other_layers(one: Unit, other: Unit) -> bool:
    """Say whether the table of layers knows both types, and as different ones; matrices may be of several types."""
    axes = {len(unit.main.spec.shape) for unit in (one, other)}
    kinds = [_rows_of(unit.layer_type) for unit in (one, other)]
    return len(axes) == 1 and axes != {2} and all(kinds) and not kinds[0] & kinds[1]


def _rows_of(layer_type: str) -> set[str]:
    """The rows of the table that are for a type, in either framework."""
    return {
        row.name
        for row in known_layers()
        if layer_type in row.torch or layer_type in {name.rpartition(".")[2] for name in row.flax}
    }


def _across(torch: Unit, flax: Unit) -> list[Way]:
    """The ways from a torch unit to a Flax one."""
    if "weight" not in torch.parts:
        return [Way("same", True)]
    a, b = torch.main.spec.shape, flax.main.spec.shape
    leaf = flax.main.path[-1] if flax.main.path[-1] not in ("value", "raw_value") else flax.main.path[-2]
    if leaf == "embedding":
        if torch.layer_type in DENSE_OF_TORCH:
            return []
        return [Way("same", True)] if a == b else reshaped_ways(a, b)
    if len(a) <= 1:
        return [Way("same", True)] if a == b else reshaped_ways(a, b)
    if leaf == "kernel":
        return _kernels(torch, flax, a, b)
    if leaf == "scale":
        return [*([Way("same", True)] if a == b else []), *_channels_last(a, b, 0)]
    return _bare(torch, a, b)


def _kernels(torch: Unit, flax: Unit, a: Shape, b: Shape) -> list[Way]:
    if len(a) == 2 and len(b) == 2:
        return _matrices(torch, a, b)
    if len(a) == len(b):
        stacked = _stacked_matrices(torch, flax, a, b)
        return [*(replace(way, usual=not stacked) for way in _convolutions(torch, flax, a, b)), *stacked]
    packed = max(torch.packed, flax.packed)
    if len(a) == 2 and packed and a == (math.prod(b[1:]), b[0]):
        return _packed_heads(torch, b, packed)
    if len(a) == 2 and len(b) == 3:
        return _heads(a, b)
    if len(a) == 2 and a == (math.prod(b[1:]), b[0]):
        return [Way("heads", True, (Transpose((1, 0)), Reshape(b)))]
    if len(b) == 2 and math.prod(a[2:]) == 1 and (a[1], a[0]) == b:
        return [Way("pointwise", False, (Reshape(a[:2]), Transpose((1, 0))))]
    if len(a) == 2 and math.prod(b[:-2]) == 1 and (a[1], a[0]) == b[-2:]:
        return [Way("pointwise", False, (Transpose((1, 0)), Reshape(b)))]
    return []


def _matrices(torch: Unit, a: Shape, b: Shape) -> list[Way]:
    if torch.layer_type in EMBEDDINGS:
        return []
    found = [Way("transpose", True, (Transpose((1, 0)),))] if (a[1], a[0]) == b else []
    if a == b and torch.layer_type not in DENSE_OF_TORCH:
        found.append(Way("same", False))
    if torch.bare:
        found = [Way(way.name, False, way.ops) for way in found]
    return found


def _convolutions(torch: Unit, flax: Unit, a: Shape, b: Shape) -> list[Way]:
    """A convolution, or a transposed one, whose kernel is kept (`transpose_kernel`) or turned round."""
    spatial = tuple(range(2, len(a)))
    plain, turned = (*spatial, 1, 0), (*spatial, 0, 1)
    bias = torch.parts.get("bias")
    is_plain = moved(a, plain) == b and (bias is None or len(bias.spec.shape) == 1)
    found = [Way("conv", True, (Transpose(plain),))] if is_plain else []
    if moved(a, turned) == b and _may_be_transposed(torch, flax, a):
        flip = Way("flip", True, (Transpose(turned), Flip(tuple(range(len(spatial))))))
        keeps = flax.main.layer.get("transpose_kernel")
        if keeps is not True:
            found = [flip] if keeps is False else [*found, flip]
    return found


def _stacked_matrices(torch: Unit, flax: Unit, a: Shape, b: Shape) -> list[Way]:
    """Matrices in one array, such as those of experts; no convolution keeps its axes in their order."""
    if len(a) != 3 or "Conv" in torch.layer_type + flax.layer_type:
        return []
    found = [Way("same", False)] if a == b else []
    return [
        *found,
        *([Way("transpose", False, (Transpose((0, 2, 1)),))] if moved(a, (0, 2, 1)) == b else []),
    ]


def _may_be_transposed(torch: Unit, flax: Unit, a: Shape) -> bool:
    if torch.layer_type or flax.layer_type:
        return "Transpose" in torch.layer_type + flax.layer_type
    bias = torch.parts.get("bias")
    return bias is None or bias.spec.shape == (a[1],)


def _heads(a: Shape, b: Shape) -> list[Way]:
    found = []
    if a == (b[1] * b[2], b[0]):
        found.append(Way("heads", True, (Transpose((1, 0)), Reshape(b))))
    if a == (b[2], b[0] * b[1]):
        found.append(Way("joined heads", True, (Transpose((1, 0)), Reshape(b))))
    return found[:1]  # where both fit they are the same chain


def _packed_heads(torch: Unit, b: Shape, count: int) -> list[Way]:
    """Queries, keys and values in one matrix, which has an axis of its own for them or for the heads in Flax.

    torch has one block for each, or its name says that it may have them head by head.
    """
    plain = Way("heads", True, (Transpose((1, 0)), Reshape(b)))
    outs = b[1:]
    if outs[0] != count:
        return [plain, *_dealt(b, count, outs[0], by_head=False)]
    if not torch.may_be_interleaved:
        return [plain]
    heads = [outs[1]] if len(outs) > 2 else head_counts(outs[1])
    return [plain, *(way for n in heads for way in _dealt(b, count, n, by_head=True))]


def _dealt(b: Shape, count: int, heads: int, *, by_head: bool) -> list[Way]:
    """The way where one side goes block by block, and the other, torch's if `by_head`, head by head."""
    total = math.prod(b[1:])
    if total % (count * heads):
        return []
    rows = (heads, count) if by_head else (count, heads)
    apart = (*rows, total // (count * heads))
    return [
        Way(
            f"heads{BY_HEAD}{heads} heads",
            False,
            (Reshape((*apart, b[0])), Transpose((3, 1, 0, 2)), Reshape(b)),
            (Reshape(apart), Transpose((1, 0, 2)), Reshape(b[1:])),
        )
    ]


def head_counts(width: int) -> list[int]:
    """Return the numbers of heads that a width may have, those first whose own width is usual."""
    counts = [count for count in range(2, width // 2 + 1) if width % count == 0]
    return sorted(counts, key=lambda count: abs(math.log2(width / count / _USUAL_WIDTH)))[:_MOST_HEADS]


def _bare(torch: Unit, a: Shape, b: Shape) -> list[Way]:
    """An array of no known layer on the Flax side: as it is, matrices turned round, or channels put last."""
    found = [Way("same", True)] if a == b else []
    if torch.bare and len(a) > 2:
        found += _channels_last(a, b, len(a) - 3)
    if len(a) == 2 or (torch.bare and len(a) == 3):
        axes = (*range(len(a) - 2), len(a) - 1, len(a) - 2)
        found += [Way("transpose", True, (Transpose(axes),))] if moved(a, axes) == b else []
    elif not found and not torch.bare:
        axes = (*range(2, len(a)), 1, 0)
        return [Way("conv", False, (Transpose(axes),))] if moved(a, axes) == b else []
    return found or reshaped_ways(a, b)


def _channels_last(a: Shape, b: Shape, axis: int) -> list[Way]:
    """The way that puts the channels of an image last."""
    axes = (*range(axis), *range(axis + 1, len(a)), axis)
    return [Way("channels last", True, (Transpose(axes),))] if moved(a, axes) == b else []
