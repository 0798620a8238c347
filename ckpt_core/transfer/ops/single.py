"""Ops that make one array of one: other axes, shapes, directions, dtypes and sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from ckpt_core.arrays import ArraySpec, LazyArray
from ckpt_core.casting import cast
from ckpt_core.errors import UsageError
from ckpt_core.transfer import views
from ckpt_core.transfer.ops.base import Arrays, Op, Specs, axis_of, spec_text

__all__ = ["Cast", "Flip", "Reshape", "Resize", "Transpose"]


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
                axis_of(axis, spec)
        return before

    def apply(self, arrays: Arrays) -> Arrays:
        return tuple(
            views.flipped(array, [axis_of(axis, array.spec) for axis in self.axes]) for array in arrays
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
                f"{self} needs initial values of {array.dtype}{list(self.shape)}, not {spec_text(initial.spec)}"
            )
        return views.laid_over(array, initial)

    def inverse(self, before: Specs) -> Op | None:
        """Cutting off what was added undoes it; what was cut off does not come back."""
        shapes = {spec.shape for spec in before}
        grew = all(a <= b for shape in shapes for a, b in zip(shape, self.shape, strict=True))
        return Resize(shapes.pop(), 0) if len(shapes) == 1 and grew else None
