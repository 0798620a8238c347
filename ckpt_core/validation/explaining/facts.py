"""What a framework's error text says, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["FileFault", "Mismatch", "Settings", "Shapes", "Sizes", "Weights"]

Shapes = tuple[tuple[int, ...], tuple[int, ...]]
"""The shape in the model, and the one in the checkpoint."""


@dataclass(frozen=True)
class Mismatch:
    """The checkpoint and the model do not agree.

    Arguments:
        error: what the framework calls it, in a few words.
        missing: names that only the model has, segments joined by `/`.
        unexpected: names that only the checkpoint has.
        shapes: names whose shapes differ.
        nameless: shapes that differ, of an array that the text does not name.
        is_whole: whether the framework lists every difference; else it stopped at the first.
        hint: what else the text tells, as a sentence.
    """

    error: str
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    shapes: Mapping[str, Shapes] = field(default_factory=dict)
    nameless: Shapes | None = None
    is_whole: bool = False
    hint: str = ""


@dataclass(frozen=True)
class FileFault:
    """The file itself is in the way: damaged, of another format, or holding objects by their class.

    Arguments:
        error: what it is, in a few words.
        cause: the cause, as a sentence.
        remedies: what to do; `{path}` stands for the file.
        type_name: the class or function that the file names, or its module.
    """

    error: str
    cause: str
    remedies: tuple[str, ...] = ()
    type_name: str = ""


@dataclass(frozen=True, slots=True)
class Weights:
    """The array of a layer: its shape, and the axis along which it meets the data."""

    shape: tuple[int, ...]
    axis: int

    def with_size(self, size: int, instead: int) -> tuple[int, ...]:
        """Return the shape with another size of data: a group of channels is as much smaller as it was."""
        own = self.shape[self.axis]
        return (*self.shape[: self.axis], size * own // instead, *self.shape[self.axis + 1 :])


@dataclass(frozen=True)
class Sizes:
    """A layer met data of another size than its own.

    Arguments:
        error: the operation that failed, in a few words.
        given: the size of the data.
        wanted: the size that the layer takes.
        weights: what its array can look like, where the text tells.
        is_sided: whether the text says which of the two is the layer's.
    """

    error: str
    given: int
    wanted: int
    weights: tuple[Weights, ...] = ()
    is_sided: bool = True


@dataclass(frozen=True)
class Settings:
    """Arguments that a class does not take, or lacks.

    Arguments:
        unexpected: those that it does not take.
        missing: those that it needs and was not given.
    """

    unexpected: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
