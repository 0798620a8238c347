"""Family: update rules of torch and of optax that are the same, and how a state of one becomes one of the other."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NoReturn

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import to_numpy
from ckpt_core.errors import UnsupportedError, UsageError
from ckpt_core.families.pieces import Shape
from ckpt_core.families.recipe import Call
from ckpt_core.families.rules import OptaxRule, TorchRule

__all__ = [
    "Family",
    "Part",
    "Slots",
    "changed",
    "check_eps_root",
    "check_momentum",
    "filled",
    "number_of",
    "refuse",
]

Slots = Mapping[str, Mapping[str, LazyArray]]
"""slot name -> parameter name -> array"""


@dataclass(frozen=True)
class Part:
    """The parameters of one group with one number of updates, as a family sees them.

    Arguments:
        kind: the rule.
        hyperparams: the group's hyperparameters, in the names of the framework whose conventions it follows. optax's
            `weight_decay` is the L2 term that `add_decayed_weights` adds before a rule without decay of its own.
        slots: the slots of the group's parameters.
        step: the number of updates, or None where nothing says so.
        notes: what a reader should be told.
        home: the rule of the other framework that the state came from, or "": where several continue it, that one.
        is_scheduled: its learning rate follows a schedule, of which the one among the hyperparameters is one value.
    """

    kind: str
    hyperparams: Mapping[str, Any]
    slots: Slots = field(default_factory=dict)
    step: int | None = None
    notes: tuple[str, ...] = ()
    home: str = ""
    is_scheduled: bool = False

    def noting(self, *notes: str) -> Part:
        """Return the part with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    def becoming(self, kind: str, hyperparams: Mapping[str, Any], slots: Slots | None = None) -> Part:
        """Return the part in the conventions of the other framework.

        Arguments:
            kind: the rule there.
            hyperparams: its hyperparameters there; whether it maximizes goes along by itself.
            slots: its slots, where they are not the same.
        """
        same = {"maximize": True} if self.hyperparams.get("maximize") else {}
        return Part(
            kind, {**hyperparams, **same}, self.slots if slots is None else slots, self.step, self.notes
        )


class Family(abc.ABC):
    """Rules of both frameworks between which a state can be translated; stateless.

    Its docstring states the equivalence as a formula, with its source and its condition.
    """

    torch: ClassVar[tuple[TorchRule, ...]] = ()
    """The torch optimizers that it is about."""

    optax: ClassVar[tuple[OptaxRule, ...]] = ()
    """The optax functions that it is about."""

    functions: ClassVar[Mapping[str, Callable[[Call], Shape]]] = {}
    """The functions that its recipes call, by dotted name, and what each keeps."""

    names: ClassVar[Mapping[str, str | tuple[str, ...]]] = {}
    """Hyperparameters that mean the same: torch's name, and optax's; several where torch has a tuple of them."""

    takes_mask: ClassVar[bool] = True
    """Whether groups that differ only in having weight decay can be one transformation with a mask."""

    is_per_tensor: ClassVar[bool] = False
    """Whether the rule looks at a tensor as a whole: one cut in two, or two made one, is then another rule."""

    scalars: ClassVar[frozenset[str]] = frozenset()
    """Slots that are one number for a parameter, whatever its shape."""

    factored: ClassVar[frozenset[str]] = frozenset()
    """Slots that keep a dimension of size 1 where they average: only the order of the axes can change."""

    @abc.abstractmethod
    def to_optax(self, part: Part) -> Part:
        """Translate a part of torch's conventions into optax's.

        Raises:
            UnsupportedError: no optax rule continues it; says why, and what to use instead.
        """

    @abc.abstractmethod
    def to_torch(self, part: Part) -> Part:
        """Translate a part of optax's conventions into torch's.

        Only what the state says need be among its hyperparameters: torch's defaults for the rest are filled in.

        Raises:
            UnsupportedError: no torch rule continues it; says why, and what to use instead.
        """

    @abc.abstractmethod
    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        """Return the optax transformation whose update is the same.

        Arguments:
            kind: the optax rule.
            hyperparams: all of its hyperparameters.
            mask: which parameters the weight decay is for, or None for all.
        """

    def initial(self, field: str, param: LazyArray, call: Call) -> LazyArray | None:
        """Return what `init` puts into a field for a parameter of which the state has nothing; None for a hole.

        Arguments:
            field: the field of the optax state.
            param: the parameter.
            call: the function whose state it is.
        """
        return filled(param, 0)

    # What families are made with.

    def torch_rule(self, kind: str, settings: Mapping[str, Any]) -> TorchRule:
        """Return the torch rule of that name that a group with these settings is of."""
        return next(rule for rule in self.torch if rule.kind == kind and rule.allows(settings))

    def optax_rule(self, kind: str) -> OptaxRule:
        """Return the optax rule of that name."""
        return next(rule for rule in self.optax if rule.kind == kind)

    def torch_settings(self, part: Part) -> dict[str, Any]:
        """Return a torch group's hyperparameters, flags that older versions did not have filled in as torch does."""
        return {**self.torch_rule(part.kind, part.hyperparams).defaults, **part.hyperparams}

    def in_optax(self, part: Part) -> dict[str, Any]:
        """Return the hyperparameters of a torch part under optax's names."""
        known = self.torch_settings(part)
        made: dict[str, Any] = {}
        for ours, theirs in self.names.items():
            made.update(
                {theirs: known[ours]} if isinstance(theirs, str) else zip(theirs, known[ours], strict=True)
            )
        return made

    def in_torch(self, part: Part) -> dict[str, Any]:
        """Return the hyperparameters of an optax part, all of which are known, under torch's names."""
        known: dict[str, Any] = {"weight_decay": 0, **part.hyperparams}
        made: dict[str, Any] = {}
        for ours, theirs in self.names.items():
            if isinstance(theirs, tuple):
                made[ours] = tuple(known[name] for name in theirs)
            elif theirs in known:
                made[ours] = tuple(known[theirs]) if isinstance(known[theirs], list) else known[theirs]
        return made

    def complete(self, part: Part) -> Part:
        """Fill in what optax's function takes where nothing is given, and say so.

        Raises:
            UsageError: the learning rate is not known; an optax state does not hold it.
        """
        defaults = self.optax_rule(part.kind).defaults
        known = dict(part.hyperparams)
        if known.get("learning_rate") is None and "learning_rate" in defaults:
            raise UsageError(
                f"an optax state does not hold the learning rate that {part.kind} was run with",
                remedy="Give it: hyperparams={'learning_rate': ..., ...}, with whatever else was not optax's default.",
            )
        missing = {key: value for key, value in defaults.items() if key not in known}
        told = ", ".join(f"{key}={value!r}" for key, value in missing.items() if value is not None)
        note = f"not said in the state, and taken to be optax's defaults for {part.kind}: {told}"
        return replace(part, hyperparams={**missing, **known}).noting(*([note] if told else []))


def refuse(reason: str, remedy: str) -> NoReturn:
    """Raise the error of a state that has no continuation on the other side."""
    raise UnsupportedError(reason, remedy=remedy)


def number_of(part: Part, name: str) -> float:
    """Return a hyperparameter that must be one number.

    Raises:
        UsageError: it is a schedule.
    """
    value = part.hyperparams[name]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise UsageError(f"{part.kind} needs {name} as a number, not {value!r}")


def check_eps_root(part: Part) -> None:
    """Refuse an epsilon under the root, which torch's rules do not have."""
    if part.hyperparams.get("eps_root"):
        refuse(
            f"optax's {part.kind} was run with eps_root={part.hyperparams['eps_root']!r}, an epsilon under the root, which torch does not have",
            "Stay in optax, or finish the run with eps_root=0 first.",
        )


def check_momentum(part: Part) -> None:
    """Refuse momentum without its trace, and a trace without its momentum, which the state does not hold.

    Raises:
        UsageError: one of the two is missing.
    """
    momentum, has_trace = part.hyperparams.get("momentum"), bool(part.slots.get("trace"))
    if has_trace and not momentum:
        raise UsageError(
            f"the state keeps a trace, so that {part.kind} was run with momentum, and does not say with how much",
            remedy="Give it: hyperparams={'momentum': ...} (--hyperparam momentum=...).",
        )
    if (momentum and part.slots and not has_trace) or (
        momentum and part.step and not part.slots and part.kind == "sgd"
    ):
        raise UsageError(
            f"the state keeps no trace, so that {part.kind} was run without momentum, and not with {momentum!r}",
            remedy="Leave momentum out of the hyperparameters.",
        )


def filled(param: LazyArray, value: float) -> LazyArray:
    """Return an array of a parameter's shape and dtype, all of one value."""
    return LazyArray.from_numpy(np.full(param.shape, value, to_numpy(param.dtype)))


def changed(arrays: Mapping[str, LazyArray], change: Callable[[Any], Any]) -> dict[str, LazyArray]:
    """Return the arrays of a slot with their values changed, each in its own dtype."""
    return {
        name: LazyArray.from_numpy(np.asarray(change(values := array.read()), values.dtype))
        for name, array in arrays.items()
    }
