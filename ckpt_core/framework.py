"""Framework: live models and optimizers of one framework, as core sees them; and what a model expects.

An object of this class is light: it looks at what is imported already, and imports its framework only when a live
object of it is handed over, which proves that somebody else has.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ckpt_core.arrays import ArraySpec, LazyArray
from ckpt_core.families.recipe import Call
from ckpt_core.keypath import join_name

__all__ = ["Filled", "Filling", "Framework", "OptimizerTemplate", "Slot", "Template"]


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
        extra: the names of free-form states that torch modules keep among their weights.
    """

    slots: tuple[Slot, ...]
    framework: str = ""
    title: str = "the model"
    optional: tuple[tuple[str, ...], ...] = ()
    extra: tuple[str, ...] = ()

    def by_name(self) -> dict[str, Slot]:
        """Return the slots by name, in order."""
        return {slot.name: slot for slot in self.slots}


@dataclass(frozen=True)
class OptimizerTemplate:
    """What an optimizer expects.

    Arguments:
        kind: its update rule by lower-case name ("adamw"), or "" where it cannot be told.
        groups: torch: the parameters of each group, under the names of the model.
        slots: Flax: every array and number of its state, by name.
        is_beside: the slots are named from the top of a train state ("opt_state/0/count", "step"), and are looked
            for beside the weights; else from the top of the optimizer's own state.
    """

    kind: str = ""
    groups: tuple[tuple[Slot, ...], ...] = ()
    slots: tuple[Slot, ...] = ()
    is_beside: bool = False


@dataclass(frozen=True)
class Filling:
    """What is to be put where; all of it was compared with the model before.

    Arguments:
        model: the live model.
        weights: the array for each slot of its template, by the slot's name.
        optimizer: the live optimizer or its state, or None.
        state: torch: the state dict to load, with LazyArrays; Flax: the array or number for each slot of the
            optimizer's template; None where there is nothing to load.
        extra: the free-form states of torch modules as they were saved, by name.
        stepping: the live scheduler and gradient scaler that are in use, each with what it loads, as it was saved.
        device: where the filled model goes: a device of the framework or its name, "auto", or None to stay.
        sharding: a sharding of the framework, or a tree of them, instead.
        mode: "eval" or "train", for models that have modes; None for the default.
    """

    model: Any
    weights: Mapping[str, LazyArray]
    optimizer: Any = None
    state: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    stepping: tuple[tuple[Any, Any], ...] = ()
    device: Any = None
    sharding: Any = None
    mode: str | None = None


@dataclass(frozen=True)
class Filled:
    """A filled model.

    Arguments:
        model, optimizer: the same objects where they can be changed, else new ones.
        device: where it is, in words.
        mode: "eval" or "train"; "" where the framework's models have none.
        trainable: the names of the parameters that training changes.
        hint: how to switch the mode, or what to do next, as code.
    """

    model: Any
    optimizer: Any
    device: str
    mode: str
    trainable: frozenset[str]
    hint: str = ""


class Framework(abc.ABC):
    """One framework's live objects; operations are methods, and objects are stateless.

    Arguments that are called a model are whatever the framework's users hold: a `torch.nn.Module`, Flax variables,
    a TrainState, an NNX module or state.
    """

    name: ClassVar[str]
    """"torch" or "flax": also what `Template.framework` says."""

    @abc.abstractmethod
    def owns(self, value: object) -> bool:
        """Say whether a value is an object of this framework: a model, its class, an optimizer, an array, ..."""

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

    @abc.abstractmethod
    def scheduler_state(self, scheduler: object) -> Any:
        """Return the tree that a checkpoint of a learning-rate scheduler, or of a gradient scaler, holds.

        Raises:
            UsageError: it is none of this framework's.
        """

    @abc.abstractmethod
    def build_optimizer(self, recipe: Call, model: object) -> Any:
        """Make an optimizer live from its recipe.

        Arguments:
            recipe: what `suggest_optimizer` proposes; only functions of the framework's own table are called.
            model: the module whose parameters it updates, for frameworks that bind them; else None.

        Raises:
            UnsupportedError: the recipe calls a function that the installed framework does not have.
        """

    @abc.abstractmethod
    def optimizer_template(self, model: object, optimizer: object | None) -> OptimizerTemplate | None:
        """Return what an optimizer expects, or a model that has its optimizer with it; None where there is none.

        Raises:
            UsageError: it is no optimizer of this framework, or one of other parameters than the model's.
        """

    @abc.abstractmethod
    def fill(self, filling: Filling) -> Filled:
        """Fill a model and its optimizer: all of both, or neither.

        Every array is read to the CPU before the first one is put in place; whatever fails after that is undone.

        Raises:
            UsageError: the device or sharding is none of this framework.
            CheckpointError: an array cannot be read, or what is asked for does not fit; names the bytes needed.
        """
