"""Op: one step from source to target, as data; and chains of them."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, ClassVar

from ckpt_core.arrays import ArraySpec, LazyArray
from ckpt_core.errors import UsageError

__all__ = [
    "Arrays",
    "Op",
    "Specs",
    "axis_of",
    "chain_specs",
    "check_alike",
    "groups_of",
    "inverse_chain",
    "spec_text",
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


def axis_of(axis: int, spec: ArraySpec, *, extra: int = 0) -> int:
    rank = len(spec.shape) + extra
    if not -rank <= axis < rank:
        raise UsageError(f"there is no axis {axis} in {list(spec.shape)}")
    return axis % rank


def groups_of(items: tuple[Any, ...], parts: int) -> list[tuple[Any, ...]]:
    """Consecutive groups of `parts` items; 0 means all of them."""
    parts = parts or len(items)
    if not items or parts < 1 or len(items) % parts:
        raise UsageError(f"{len(items)} arrays do not make groups of {parts}")
    return [items[start : start + parts] for start in range(0, len(items), parts)]


def check_alike(group: Sequence[ArraySpec], but: int | None = None) -> None:
    """Raise UsageError unless the specs agree in everything, or in all but one axis."""
    first = group[0]
    for spec in group[1:]:
        shapes = [[size for i, size in enumerate(s.shape) if i != but] for s in (first, spec)]
        if spec.dtype != first.dtype or len(spec.shape) != len(first.shape) or shapes[0] != shapes[1]:
            raise UsageError(f"{spec_text(first)} and {spec_text(spec)} differ")


def spec_text(spec: ArraySpec) -> str:
    return f"{spec.dtype}{list(spec.shape)}"
