"""Ops: what happens to arrays on the way from source to target, as data.

A rule hands its source arrays to a chain of ops, as a tuple in order; each op takes a tuple and returns one, and what
the last returns fills the targets in order. An op knows what it does to shapes and dtypes (`specs`), to arrays without
copying them (`apply`), and which op undoes it (`inverse`).

    same number         transpose reshape flip cast resize
    fewer or more       split concat stack unstack sum spread copy tie arrange
    ends                skip (no target), initial and constant (no source)
"""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Final

from ckpt_core.arrays import ArraySpec, LazyArray
from ckpt_core.casting import cast
from ckpt_core.errors import UsageError
from ckpt_core.transfer import views
from ckpt_core.writing import same_bytes

__all__ = [
    "OPS",
    "Arrange",
    "Cast",
    "Concat",
    "Constant",
    "Copy",
    "Filling",
    "Flip",
    "Initial",
    "Op",
    "Reshape",
    "Resize",
    "Skip",
    "Split",
    "Spread",
    "Stack",
    "Sum",
    "Tie",
    "Transpose",
    "Unstack",
    "chain_specs",
    "inverse_chain",
]

Specs = tuple[ArraySpec, ...]
Arrays = tuple[LazyArray, ...]


class Op(abc.ABC):
    """One step of a rule's chain.

    A class names itself, and the field that its text gives without a keyword, if any: `transpose(1, 0)`.
    """

    name: ClassVar[str]
    listed: ClassVar[str] = ""

    @abc.abstractmethod
    def specs(self, before: Specs) -> Specs:
        """Return the shapes and dtypes after this op; raises UsageError where it does not fit them."""

    @abc.abstractmethod
    def apply(self, arrays: Arrays) -> Arrays:
        """Return the arrays after this op; bytes are read when the result is."""

    @abc.abstractmethod
    def inverse(self, before: Specs) -> Op | None:
        """Return the op that turns its results back into arrays of the specs `before`; None where there is none."""

    def __str__(self) -> str:
        words = []
        for field in fields(self):  # type: ignore[arg-type]  # every op is a dataclass
            value = getattr(self, field.name)
            if field.name == self.listed and value != field.default:
                words += [repr(item) for item in (value if isinstance(value, tuple) else (value,))]
            elif value != field.default:
                words.append(f"{field.name}={list(value) if isinstance(value, tuple) else value!r}")
        return f"{self.name}({', '.join(words)})" if words else self.name


def chain_specs(ops: Iterable[Op], before: Specs) -> Specs:
    """Return the specs after a chain of ops.

    Raises:
        UsageError: an op does not fit; says which.
    """
    for op in ops:
        try:
            before = op.specs(before)
        except UsageError as error:
            raise UsageError(f"{op} does not fit: {error.reason}") from None
    return before


def inverse_chain(ops: Sequence[Op], before: Specs) -> tuple[Op, ...] | Op:
    """Return the chain that undoes a chain which starts at `before`; or the op that has no inverse."""
    turned: list[Op] = []
    for op in ops:
        back = op.inverse(before)
        if back is None:
            return op
        turned.append(back)
        before = op.specs(before)
    return tuple(reversed(turned))


def _axis(axis: int, spec: ArraySpec, *, extra: int = 0) -> int:
    rank = len(spec.shape) + extra
    if not -rank <= axis < rank:
        raise UsageError(f"there is no axis {axis} in {list(spec.shape)}")
    return axis % rank


def _groups(items: tuple[Any, ...], parts: int) -> list[tuple[Any, ...]]:
    """Consecutive groups of `parts` items; 0 means all of them."""
    parts = parts or len(items)
    if not items or parts < 1 or len(items) % parts:
        raise UsageError(f"{len(items)} arrays do not make groups of {parts}")
    return [items[start : start + parts] for start in range(0, len(items), parts)]


def _alike(group: Sequence[ArraySpec], but: int | None = None) -> None:
    """Raise UsageError unless the specs agree in everything, or in all but one axis."""
    first = group[0]
    for spec in group[1:]:
        shapes = [[size for i, size in enumerate(s.shape) if i != but] for s in (first, spec)]
        if spec.dtype != first.dtype or len(spec.shape) != len(first.shape) or shapes[0] != shapes[1]:
            raise UsageError(f"{_text(first)} and {_text(spec)} differ")


def _text(spec: ArraySpec) -> str:
    return f"{spec.dtype}{list(spec.shape)}"


# One array in, one array out.


@dataclass(frozen=True)
class Transpose(Op):
    """The axes in another order, as `numpy.transpose`; without axes, in reverse order."""

    axes: tuple[int, ...] = ()
    name = "transpose"
    listed = "axes"

    def _order(self, rank: int) -> tuple[int, ...]:
        axes = self.axes or tuple(reversed(range(rank)))
        order = tuple(axis % rank if -rank <= axis < rank else axis for axis in axes)
        if sorted(order) != list(range(rank)):
            raise UsageError(f"{list(axes)} is no order of {rank} axes")
        return order

    def specs(self, before: Specs) -> Specs:
        return tuple(
            ArraySpec(tuple(spec.shape[axis] for axis in self._order(len(spec.shape))), spec.dtype)
            for spec in before
        )

    def apply(self, arrays: Arrays) -> Arrays:
        return tuple(views.transposed(array, self._order(array.ndim)) for array in arrays)

    def inverse(self, before: Specs) -> Op | None:
        if not self.axes:
            return self
        order = self._order(len(self.axes))
        return Transpose(tuple(order.index(axis) for axis in range(len(order))))


@dataclass(frozen=True)
class Reshape(Op):
    """Another shape of the same elements in C order; one size may be -1, which is what remains."""

    shape: tuple[int, ...] = ()
    name = "reshape"
    listed = "shape"

    def _shape(self, spec: ArraySpec) -> tuple[int, ...]:
        known = math.prod(size for size in self.shape if size != -1)
        shape = self.shape
        if shape.count(-1) == 1 and known and spec.size % known == 0:
            shape = tuple(spec.size // known if size == -1 else size for size in shape)
        if min(shape, default=0) < 0 or math.prod(shape) != spec.size:
            raise UsageError(f"{list(spec.shape)} has {spec.size} elements")
        return shape

    def specs(self, before: Specs) -> Specs:
        return tuple(ArraySpec(self._shape(spec), spec.dtype) for spec in before)

    def apply(self, arrays: Arrays) -> Arrays:
        return tuple(views.reshaped(array, self._shape(array.spec)) for array in arrays)

    def inverse(self, before: Specs) -> Op | None:
        return Reshape(before[0].shape) if len({spec.shape for spec in before}) == 1 else None


@dataclass(frozen=True)
class Flip(Op):
    """The elements along some axes in reverse order, as `numpy.flip`."""

    axes: tuple[int, ...]
    name = "flip"
    listed = "axes"

    def specs(self, before: Specs) -> Specs:
        for spec in before:
            for axis in self.axes:
                _axis(axis, spec)
        return before

    def apply(self, arrays: Arrays) -> Arrays:
        return tuple(
            views.flipped(array, [_axis(axis, array.spec) for axis in self.axes]) for array in arrays
        )

    def inverse(self, before: Specs) -> Op | None:
        return self


@dataclass(frozen=True)
class Cast(Op):
    """Another floating-point dtype; it has an inverse only where nothing is lost."""

    dtype: str
    name = "cast"
    listed = "dtype"

    def specs(self, before: Specs) -> Specs:
        return tuple(replace(spec, dtype=self.dtype) for spec in before)

    def apply(self, arrays: Arrays) -> Arrays:
        return tuple(cast(array, self.dtype) for array in arrays)

    def inverse(self, before: Specs) -> Op | None:
        dtypes = {spec.dtype for spec in before}
        exact = all(self.dtype in _WIDER.get(dtype, ()) or dtype == self.dtype for dtype in dtypes)
        return Cast(dtypes.pop()) if len(dtypes) == 1 and exact else None


_WIDER: Final = {
    "float16": ("float32", "float64"),
    "bfloat16": ("float32", "float64"),
    "float32": ("float64",),
}


@dataclass(frozen=True)
class Resize(Op):
    """Another size along some axes: what both have is kept from the start, what is new is `fill`.

    For tables that grew (a vocabulary, positions). `fill` is a number, or "initial": the target's own values.
    """

    shape: tuple[int, ...]
    fill: float | str = "initial"
    name = "resize"
    listed = "shape"

    def specs(self, before: Specs) -> Specs:
        for spec in before:
            if len(spec.shape) != len(self.shape):
                raise UsageError(f"{list(spec.shape)} has {len(spec.shape)} axes")
        return tuple(ArraySpec(self.shape, spec.dtype) for spec in before)

    def apply(self, arrays: Arrays) -> Arrays:
        if isinstance(self.fill, str):
            raise UsageError(f"{self} needs the target's initial values")
        return tuple(self.over(array, views.filled(self.shape, array.dtype, self.fill)) for array in arrays)

    def over(self, array: LazyArray, initial: LazyArray | None) -> LazyArray:
        """Return the array where it reaches, and the target's initial values (of `shape`) beyond it.

        Raises:
            UsageError: the target has none, or they have another shape or dtype.
        """
        if initial is None:
            raise UsageError(
                f"{self} needs the target's initial values, and there are shapes alone",
                remedy="Pass a target that has values, or a number: fill=0.0.",
            )
        if initial.spec != ArraySpec(self.shape, array.dtype):
            raise UsageError(
                f"{self} needs initial values of {array.dtype}{list(self.shape)}, not {_text(initial.spec)}"
            )
        return views.laid_over(array, initial)

    def inverse(self, before: Specs) -> Op | None:
        """Cutting off what was added undoes it; what was cut off does not come back."""
        shapes = {spec.shape for spec in before}
        grew = all(a <= b for shape in shapes for a, b in zip(shape, self.shape, strict=True))
        return Resize(shapes.pop(), 0) if len(shapes) == 1 and grew else None


# Fewer or more arrays.


@dataclass(frozen=True)
class Split(Op):
    """Each array cut along an axis, into `parts` equal ones or ones of the given `sizes`."""

    axis: int
    parts: int = 0
    sizes: tuple[int, ...] = ()
    name = "split"

    def _cuts(self, spec: ArraySpec) -> tuple[int, ...]:
        size = spec.shape[_axis(self.axis, spec)]
        sizes = self.sizes or (size // self.parts,) * self.parts if self.sizes or self.parts > 0 else ()
        if not sizes or min(sizes) < 0 or sum(sizes) != size:
            raise UsageError(f"axis {self.axis} of {list(spec.shape)} has {size}")
        return sizes

    def specs(self, before: Specs) -> Specs:
        return tuple(
            ArraySpec((*spec.shape[:axis], size, *spec.shape[axis + 1 :]), spec.dtype)
            for spec in before
            for axis in [_axis(self.axis, spec)]
            for size in self._cuts(spec)
        )

    def apply(self, arrays: Arrays) -> Arrays:
        made = []
        for array in arrays:
            start = 0
            for size in self._cuts(array.spec):
                made.append(views.sliced(array, _axis(self.axis, array.spec), start, start + size))
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
        for group in _groups(before, self.parts):
            axis = _axis(self.axis, group[0])
            _alike(group, axis)
            shape = group[0].shape
            total = sum(spec.shape[axis] for spec in group)
            made.append(ArraySpec((*shape[:axis], total, *shape[axis + 1 :]), group[0].dtype))
        return tuple(made)

    def apply(self, arrays: Arrays) -> Arrays:
        groups = _groups(arrays, self.parts)
        return tuple(views.joined(group, _axis(self.axis, group[0].spec)) for group in groups)

    def inverse(self, before: Specs) -> Op | None:
        cuts = {
            tuple(spec.shape[_axis(self.axis, spec)] for spec in group)
            for group in _groups(before, self.parts)
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
        for group in _groups(before, self.parts):
            _alike(group)
            axis = _axis(self.axis, group[0], extra=1)
            shape = group[0].shape
            made.append(ArraySpec((*shape[:axis], len(group), *shape[axis:]), group[0].dtype))
        return tuple(made)

    def apply(self, arrays: Arrays) -> Arrays:
        groups = _groups(arrays, self.parts)
        return tuple(views.stacked(group, _axis(self.axis, group[0].spec, extra=1)) for group in groups)

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
            for axis in [_axis(self.axis, spec)]
            for _ in range(spec.shape[axis])
        )

    def apply(self, arrays: Arrays) -> Arrays:
        return tuple(
            views.without_axis(views.sliced(array, axis, i, i + 1), axis)
            for array in arrays
            for axis in [_axis(self.axis, array.spec)]
            for i in range(array.shape[axis])
        )

    def inverse(self, before: Specs) -> Op | None:
        counts = {spec.shape[_axis(self.axis, spec)] for spec in before}
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
            _alike(group)
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
        return tuple(group[i] for group in _groups(items, len(self.order)) for i in self.order)

    def specs(self, before: Specs) -> Specs:
        return self._arranged(before)

    def apply(self, arrays: Arrays) -> Arrays:
        return self._arranged(arrays)

    def inverse(self, before: Specs) -> Op | None:
        return Arrange(tuple(self.order.index(i) for i in range(len(self.order))))


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
        groups = _groups(before, self.count)
        for group in groups:
            _alike(group)
        return tuple(group[0] for group in groups)

    def apply(self, arrays: Arrays) -> Arrays:
        groups = _groups(arrays, self.count)
        if not all(same_bytes(group[0], array) for group in groups for array in group[1:]):
            raise UsageError(f"{self} does not fit: the arrays differ")
        return tuple(group[0] for group in groups)

    def inverse(self, before: Specs) -> Op | None:
        return Copy(self.count or len(before), tied=True)


# The ends.


@dataclass(frozen=True)
class Skip(Op):
    """A source that goes nowhere, on purpose.

    On the way back it keeps the target's initial value, or, where `back` is a number, is given that.
    """

    reason: str = ""
    back: float | str = "initial"
    name = "skip"
    listed = "reason"

    def specs(self, before: Specs) -> Specs:
        return ()

    def apply(self, arrays: Arrays) -> Arrays:
        return ()

    def inverse(self, before: Specs) -> Op | None:
        return Initial(self.reason) if isinstance(self.back, str) else Constant(self.back)


class Filling(Op):
    """What a target holds that has no source; alone in its chain."""

    def specs(self, before: Specs) -> Specs:
        return before

    def apply(self, arrays: Arrays) -> Arrays:
        return arrays

    @abc.abstractmethod
    def fill(self, slot: ArraySpec, initial: LazyArray | None) -> LazyArray:
        """Return the array of a slot; raises UsageError where it needs initial values and there are none."""


@dataclass(frozen=True)
class Initial(Filling):
    """The target's own initial value."""

    reason: str = ""
    name = "initial"
    listed = "reason"

    def fill(self, slot: ArraySpec, initial: LazyArray | None) -> LazyArray:
        if initial is None:
            raise UsageError("the target has shapes and no initial values")
        return initial

    def inverse(self, before: Specs) -> Op | None:
        return Skip(self.reason)


@dataclass(frozen=True)
class Constant(Filling):
    """One value everywhere, in the slot's own shape and dtype."""

    value: float
    name = "constant"
    listed = "value"

    def fill(self, slot: ArraySpec, initial: LazyArray | None) -> LazyArray:
        return views.filled(slot.shape, slot.dtype, self.value)

    def inverse(self, before: Specs) -> Op | None:
        return Skip(str(self), self.value)


OPS: Final[dict[str, type[Op]]] = {
    kind.name: kind
    for kind in (
        *(Transpose, Reshape, Flip, Cast, Resize),
        *(Split, Concat, Stack, Unstack, Sum, Spread, Arrange, Copy, Tie),
        *(Skip, Initial, Constant),
    )
}
"""Every op by name."""
