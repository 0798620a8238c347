"""Ops that make fewer or more arrays: cut, joined, stacked, added, copied, put in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ckpt_core.arrays import ArraySpec, LazyArray
from ckpt_core.errors import UsageError
from ckpt_core.transfer import views
from ckpt_core.transfer.ops.base import Arrays, Op, Specs, axis_of, check_alike, groups_of
from ckpt_core.writing import same_bytes

__all__ = ["Arrange", "Concat", "Copy", "Deal", "Split", "Spread", "Stack", "Sum", "Tie", "Unstack"]


@dataclass(frozen=True)
class Split(Op):
    """Each array cut along an axis, into `parts` equal ones or ones of the given `sizes`."""

    axis: int
    parts: int = 0
    sizes: tuple[int, ...] = ()
    name = "split"

    def _cuts(self, spec: ArraySpec) -> tuple[int, ...]:
        size = spec.shape[axis_of(self.axis, spec)]
        sizes = self.sizes or (size // self.parts,) * self.parts if self.sizes or self.parts > 0 else ()
        if not sizes or min(sizes) < 0 or sum(sizes) != size:
            raise UsageError(f"axis {self.axis} of {list(spec.shape)} has {size}")
        return sizes

    def specs(self, before: Specs) -> Specs:
        return tuple(
            ArraySpec((*spec.shape[:axis], size, *spec.shape[axis + 1 :]), spec.dtype)
            for spec in before
            for axis in [axis_of(self.axis, spec)]
            for size in self._cuts(spec)
        )

    def apply(self, arrays: Arrays) -> Arrays:
        made = []
        for array in arrays:
            start = 0
            for size in self._cuts(array.spec):
                made.append(views.sliced(array, axis_of(self.axis, array.spec), start, start + size))
                start += size
        return tuple(made)

    def inverse(self, before: Specs) -> Op | None:
        return Concat(self.axis, self.parts or len(self.sizes))


@dataclass(frozen=True)
class Concat(Op):
    """Arrays one after another along an axis: consecutive groups of `parts`, or all."""

    axis: int
    parts: int = 0
    name = "concat"

    def specs(self, before: Specs) -> Specs:
        made = []
        for group in groups_of(before, self.parts):
            axis = axis_of(self.axis, group[0])
            check_alike(group, axis)
            shape = group[0].shape
            total = sum(spec.shape[axis] for spec in group)
            made.append(ArraySpec((*shape[:axis], total, *shape[axis + 1 :]), group[0].dtype))
        return tuple(made)

    def apply(self, arrays: Arrays) -> Arrays:
        groups = groups_of(arrays, self.parts)
        return tuple(views.joined(group, axis_of(self.axis, group[0].spec)) for group in groups)

    def inverse(self, before: Specs) -> Op | None:
        cuts = {
            tuple(spec.shape[axis_of(self.axis, spec)] for spec in group)
            for group in groups_of(before, self.parts)
        }
        if len(cuts) != 1:
            return None
        sizes = cuts.pop()
        if len(set(sizes)) == 1:
            return Split(self.axis, len(sizes))
        return Split(self.axis, sizes=sizes)


@dataclass(frozen=True)
class Stack(Op):
    """Arrays of one shape along a new axis: consecutive groups of `parts`, or all."""

    axis: int = 0
    parts: int = 0
    name = "stack"

    def specs(self, before: Specs) -> Specs:
        made = []
        for group in groups_of(before, self.parts):
            check_alike(group)
            axis = axis_of(self.axis, group[0], extra=1)
            shape = group[0].shape
            made.append(ArraySpec((*shape[:axis], len(group), *shape[axis:]), group[0].dtype))
        return tuple(made)

    def apply(self, arrays: Arrays) -> Arrays:
        groups = groups_of(arrays, self.parts)
        return tuple(views.stacked(group, axis_of(self.axis, group[0].spec, extra=1)) for group in groups)

    def inverse(self, before: Specs) -> Op | None:
        return Unstack(self.axis)


@dataclass(frozen=True)
class Unstack(Op):
    """Each array taken apart along an axis, which goes away."""

    axis: int = 0
    name = "unstack"

    def specs(self, before: Specs) -> Specs:
        return tuple(
            ArraySpec((*spec.shape[:axis], *spec.shape[axis + 1 :]), spec.dtype)
            for spec in before
            for axis in [axis_of(self.axis, spec)]
            for _ in range(spec.shape[axis])
        )

    def apply(self, arrays: Arrays) -> Arrays:
        return tuple(
            views.without_axis(views.sliced(array, axis, i, i + 1), axis)
            for array in arrays
            for axis in [axis_of(self.axis, array.spec)]
            for i in range(array.shape[axis])
        )

    def inverse(self, before: Specs) -> Op | None:
        counts = {spec.shape[axis_of(self.axis, spec)] for spec in before}
        return Stack(self.axis, counts.pop() if len(before) > 1 else 0) if len(counts) == 1 else None


@dataclass(frozen=True)
class Sum(Op):
    """Consecutive groups of `sizes` arrays added, or all; the groups repeat where there are more arrays.

    A sum cannot be taken apart. `reverse` names the convention for the way back: the "first" or the "last" of a
    group gets the whole, and the others zeros.
    """

    sizes: tuple[int, ...] = ()
    reverse: str = "first"
    name = "sum"

    def specs(self, before: Specs) -> Specs:
        groups = _sized(before, self.sizes)
        for group in groups:
            check_alike(group)
        return tuple(group[0] for group in groups)

    def apply(self, arrays: Arrays) -> Arrays:
        groups = _sized(arrays, self.sizes)
        return tuple(group[0] if len(group) == 1 else views.added(group) for group in groups)

    def inverse(self, before: Specs) -> Op | None:
        return Spread(self.sizes or (len(before),), self.reverse)


@dataclass(frozen=True)
class Spread(Op):
    """The way back of a sum, by convention: of each group of `sizes`, one is the array and the others are zeros.

    The zeros are negative, so that adding them gives back every bit, that of a -0.0 included.
    """

    sizes: tuple[int, ...]
    keep: str = "first"
    name = "spread"

    def _counts(self, count: int) -> tuple[int, ...]:
        if not self.sizes or count % len(self.sizes):
            raise UsageError(f"{count} arrays do not make groups of {len(self.sizes)}")
        return self.sizes * (count // len(self.sizes))

    def specs(self, before: Specs) -> Specs:
        counts = self._counts(len(before))
        return tuple(spec for spec, n in zip(before, counts, strict=True) for _ in range(n))

    def apply(self, arrays: Arrays) -> Arrays:
        made: list[LazyArray] = []
        for array, count in zip(arrays, self._counts(len(arrays)), strict=True):
            zeros = [views.filled(array.shape, array.dtype, -0.0) for _ in range(count - 1)]
            made += [array, *zeros] if self.keep == "first" else [*zeros, array]
        return tuple(made)

    def inverse(self, before: Specs) -> Op | None:
        return Sum(self.sizes, self.keep)


def _sized(items: tuple[Any, ...], sizes: tuple[int, ...]) -> list[tuple[Any, ...]]:
    sizes = sizes or (len(items),)
    if not items or min(sizes) < 1 or len(items) % sum(sizes):
        raise UsageError(f"{len(items)} arrays do not make groups of {list(sizes)}")
    groups, start = [], 0
    for size in sizes * (len(items) // sum(sizes)):
        groups.append(items[start : start + size])
        start += size
    return groups


@dataclass(frozen=True)
class Arrange(Op):
    """The arrays in another order: the i-th of each group is number `order[i]` of it."""

    order: tuple[int, ...]
    name = "arrange"
    listed = "order"

    def _arranged(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        if sorted(self.order) != list(range(len(self.order))):
            raise UsageError(f"{list(self.order)} is no order")
        return tuple(group[i] for group in groups_of(items, len(self.order)) for i in self.order)

    def specs(self, before: Specs) -> Specs:
        return self._arranged(before)

    def apply(self, arrays: Arrays) -> Arrays:
        return self._arranged(arrays)

    def inverse(self, before: Specs) -> Op | None:
        return Arrange(tuple(self.order.index(i) for i in range(len(self.order))))


@dataclass(frozen=True)
class Deal(Op):
    """The arrays dealt like cards: every `hands`-th one, from the first, the second, ... on.

    What comes layer by layer, several arrays each, is in order of the arrays then, ready to be stacked.
    """

    hands: int
    name = "deal"
    listed = "hands"

    def _dealt(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.hands < 1 or len(items) % self.hands:
            raise UsageError(f"{len(items)} arrays cannot be dealt into {self.hands} hands")
        return tuple(item for start in range(self.hands) for item in items[start :: self.hands])

    def specs(self, before: Specs) -> Specs:
        return self._dealt(before)

    def apply(self, arrays: Arrays) -> Arrays:
        return self._dealt(arrays)

    def inverse(self, before: Specs) -> Op | None:
        return Deal(len(before) // self.hands)


@dataclass(frozen=True)
class Copy(Op):
    """Each array `count` times, as independent arrays; with `tied`, as one array under several names."""

    count: int
    tied: bool = False
    name = "copy"
    listed = "count"

    def specs(self, before: Specs) -> Specs:
        if self.count < 1:
            raise UsageError("a copy needs a count")
        return tuple(spec for spec in before for _ in range(self.count))

    def apply(self, arrays: Arrays) -> Arrays:
        return tuple(
            array if i == 0 or self.tied else views.independent(array)
            for array in arrays
            for i in range(self.count)
        )

    def inverse(self, before: Specs) -> Op | None:
        return Tie(self.count)


@dataclass(frozen=True)
class Tie(Op):
    """Groups of `count` arrays (0: all) that are proven equal become one."""

    count: int = 0
    name = "tie"
    listed = "count"

    def specs(self, before: Specs) -> Specs:
        groups = groups_of(before, self.count)
        for group in groups:
            check_alike(group)
        return tuple(group[0] for group in groups)

    def apply(self, arrays: Arrays) -> Arrays:
        groups = groups_of(arrays, self.count)
        if not all(same_bytes(group[0], array) for group in groups for array in group[1:]):
            raise UsageError(f"{self} does not fit: the arrays differ")
        return tuple(group[0] for group in groups)

    def inverse(self, before: Specs) -> Op | None:
        return Copy(self.count or len(before), tied=True)
