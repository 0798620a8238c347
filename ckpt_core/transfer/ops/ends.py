"""Ops at the ends: sources that go nowhere, and slots without a source."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Final

from ckpt_core.arrays import ArraySpec, LazyArray
from ckpt_core.errors import UsageError
from ckpt_core.transfer import views
from ckpt_core.transfer.ops.base import Arrays, Op, Specs

__all__ = ["NO_VALUES", "Constant", "Filling", "Initial", "Skip"]

NO_VALUES: Final = (
    "would keep its initial value, and the target has shapes alone: give a model or a checkpoint as like="
)


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
            raise UsageError(NO_VALUES)
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
