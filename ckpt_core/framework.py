"""Framework: live models and optimizers of one framework, as core sees them; and what a model expects.

An object of this class is light: it looks at what is imported already, and imports its framework only when a live
object of it is handed over, which proves that somebody else has.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ckpt_core.arrays import ArraySpec
from ckpt_core.keypath import join_name

__all__ = ["Framework", "Slot", "Template"]


@dataclass(frozen=True, slots=True)
class Slot:
    """One array that a model expects.

    Arguments:
        path: the segments of its name, as the neutral view splits them: ("encoder", "conv1", "weight").
        spec: its shape and dtype.
        role: "param" or "buffer".
        layer: what holds it, where that is known: "type" ("Conv2d", "nn.Dense") and the settings of the layer
            that shapes alone do not tell (groups, num_heads, transpose_kernel), as plain values.
        tied: the path of the slot whose array this one shares; None where it has its own.
    """

    path: tuple[str, ...]
    spec: ArraySpec
    role: str = "param"
    layer: Mapping[str, Any] = field(default_factory=dict)
    tied: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """The path joined by `/`, with `/` inside of a segment escaped."""
        return join_name(self.path)


@dataclass(frozen=True)
class Template:
    """What a target expects: every array by name, in the target's own order, without data.

    Arguments:
        slots: the arrays.
        framework: the name of the framework whose names and array layouts these are ("torch", "flax"), or "".
        title: what reports call it: "the model", or the path of a file.
        optional: the paths of what a checkpoint may hold as well as lack: the states of random streams, and
            what a module sowed to be looked at.
    """

    slots: tuple[Slot, ...]
    framework: str = ""
    title: str = "the model"
    optional: tuple[tuple[str, ...], ...] = ()

    def by_name(self) -> dict[str, Slot]:
        """Return the slots by name, in order."""
        return {slot.name: slot for slot in self.slots}


class Framework(abc.ABC):
    """One framework's live objects; operations are methods, and objects are stateless.

    Arguments that are called a model are whatever the framework's users hold: a `torch.nn.Module`, Flax variables,
    a TrainState, an NNX module or state.
    """

    name: ClassVar[str]
    """"torch" or "flax": also what `Template.framework` says."""

    @abc.abstractmethod
    def owns(self, value: object) -> bool:
        """Say whether a value is an object of this framework (a model, its class, an optimizer, an array)."""

    @abc.abstractmethod
    def spec(self, value: object) -> ArraySpec | None:
        """Return the shape and dtype of a live or abstract array of this framework; None for anything else."""

    @abc.abstractmethod
    def template(self, model: object) -> Template:
        """Return what a model expects.

        Raises:
            UsageError: it is no model that has its arrays (a class, an uninitialised linen module); the remedy
                says how to make one.
        """

    @abc.abstractmethod
    def model_state(self, model: object) -> Any:
        """Return the tree that a checkpoint of the model holds, its live arrays as LazyArrays.

        A torch state dict stays flat and dotted; Flax variables stay nested by collection.
        """

    @abc.abstractmethod
    def optimizer_state(self, optimizer: object) -> Any:
        """Return the tree that a checkpoint of the optimizer holds, its live arrays as LazyArrays."""
