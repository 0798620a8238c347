"""Ways between layers of one framework, and those where one side does not say whose layouts it has."""

from __future__ import annotations

from ckpt_core.transfer.matching.units import Unit, core_of
from ckpt_core.transfer.matching.way import (
    DENSE_OF_FLAX,
    DENSE_OF_TORCH,
    EMBEDDINGS,
    Shape,
    Way,
    moved,
    reshaped_ways,
)
from ckpt_core.transfer.ops import Reshape, Transpose

__all__ = ["alike_ways", "are_kept_alike", "unknown_ways"]


def alike_ways(source: Unit, target: Unit) -> list[Way]:
    """The ways between layers of one framework: as it is, or turned round, since some keep a matrix inputs first.

    A bias that is as long as the inputs would be tells a layer with its inputs first. Without one, names and siblings
    tell; an array that a model multiplies with by itself may have either.
    """
    a, b = source.main.spec.shape, target.main.spec.shape
    found = [Way("same", len(a) != 2 or are_kept_alike(source, target))] if a == b else []
    if a[::-1] == b and len(a) == 2 and _may_be_turned(source, target):
        found.append(Way("transpose", False, (Transpose((1, 0)),)))
    return found or _with_heads(source, target) or reshaped_ways(a, b)


def are_kept_alike(one: Unit, other: Unit) -> bool:
    """Say whether two matrices of one framework have their axes in one order, as far as names and types tell."""
    types = {one.layer_type, other.layer_type}
    if one.bare or other.bare:
        return one.bare == other.bare
    is_one_type = len(types) == 1 or "" in types or _are_dense(one, other)
    return is_one_type and core_of(one.main.path)[-1] == core_of(other.main.path)[-1]


def _may_be_turned(source: Unit, target: Unit) -> bool:
    """Say whether one of two matrices of one framework may have its inputs first, and the other its outputs."""
    types = {source.layer_type, target.layer_type}
    if "weight" not in source.parts or types & EMBEDDINGS or _are_dense(source, target):
        return False
    return source.bare != target.bare or len(types) == 2 or types == {""}


def _are_dense(*units: Unit) -> bool:
    """Say whether all are dense layers of one framework by their types, and no classes of that name of one's own."""
    return {str(unit.main.layer.get("type", "")) for unit in units} <= DENSE_OF_FLAX or all(
        unit.layer_type in DENSE_OF_TORCH for unit in units
    )


def _with_heads(source: Unit, target: Unit) -> list[Way]:
    """The way between a kernel of Flax that has an axis for heads and one that has none."""
    if any(core_of(unit.main.path)[-1] != "kernel" for unit in (source, target)):
        return []
    a, b = source.main.spec.shape, target.main.spec.shape
    joined, apart = sorted((a, b), key=len)
    if len(joined) != 2 or len(apart) != 3:
        return []
    fits = joined in ((apart[0], apart[1] * apart[2]), (apart[0] * apart[1], apart[2]))
    return [Way("heads", True, (Reshape(b),))] if fits else []


def unknown_ways(a: Shape, b: Shape) -> list[Way]:
    """The ways where one side does not say whose layouts it has: as it is, or turned round."""
    found = [Way("same", len(a) < 2)] if a == b else []
    if len(a) == 2 and a[::-1] == b:
        found.append(Way("transpose", False, (Transpose((1, 0)),)))
    if len(a) == len(b) > 2:
        to, back = (*range(2, len(a)), 1, 0), (len(a) - 1, len(a) - 2, *range(len(a) - 2))
        found += [Way("conv", False, (Transpose(axes),)) for axes in (to, back) if moved(a, axes) == b][:1]
    return found or reshaped_ways(a, b)
