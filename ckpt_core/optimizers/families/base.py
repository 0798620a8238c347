"""Family: update rules of torch and of optax that are the same, and how a state of one becomes one of the other."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NoReturn

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UnsupportedError, UsageError
from ckpt_core.optimizers.families.rules import OPTAX, TORCH
from ckpt_core.optimizers.recipe import Call

__all__ = ["Family", "Part", "Slots", "decayed", "refuse", "stock"]

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
    """

    kind: str
    hyperparams: Mapping[str, Any]
    slots: Slots
    step: int | None = None
    notes: tuple[str, ...] = ()

    def noting(self, *notes: str) -> Part:
        """Return the part with more notes."""
        return replace(self, notes=(*self.notes, *notes))


class Family(abc.ABC):
    """Rules of both frameworks between which a state can be translated; stateless.

    Its docstring states the equivalence as a formula, with its source and its condition.
    """

    torch_kinds: ClassVar[tuple[str, ...]] = ()
    optax_kinds: ClassVar[tuple[str, ...]] = ()
    takes_mask: ClassVar[bool] = True
    """Whether groups that differ only in having weight decay can be one transformation with a mask."""

    @abc.abstractmethod
    def to_optax(self, part: Part) -> Part:
        """Translate a part of torch's conventions into optax's.

        Raises:
            UnsupportedError: no optax rule continues it; says why, and what to use instead.
        """

    @abc.abstractmethod
    def to_torch(self, part: Part) -> Part:
        """Translate a part of optax's conventions into torch's.

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


def refuse(reason: str, remedy: str) -> NoReturn:
    """Raise the error of a state that has no continuation on the other side."""
    raise UnsupportedError(reason, remedy=remedy)


def complete_optax(part: Part) -> Part:
    """Fill in what optax's function takes where nothing is given, and say so.

    Raises:
        UsageError: the learning rate is not known; an optax state does not hold it.
    """
    defaults = OPTAX[part.kind].defaults
    known = dict(part.hyperparams)
    if known.get("learning_rate") is None and "learning_rate" in defaults:
        raise UsageError(
            f"an optax state does not hold the learning rate that {part.kind} was run with",
            remedy="Give it: hyperparams={'learning_rate': ..., ...}, with whatever else was not optax's default.",
        )
    missing = {key: value for key, value in defaults.items() if key not in known}
    told = ", ".join(f"{key}={value!r}" for key, value in missing.items() if value not in (None, False))
    notes = (
        (f"not said in the state, and taken to be optax's defaults for {part.kind}: {told}",) if told else ()
    )
    return replace(part, hyperparams={**missing, **known}).noting(*notes)


def to_torch_part(part: Part, kind: str, slots: Slots | None = None, **hyperparams: Any) -> Part:
    """Return a part of torch's conventions, with torch's defaults for flags that have no meaning in optax."""
    settings = {**TORCH[kind].defaults, **hyperparams}
    if part.hyperparams.get("maximize"):
        settings["maximize"] = True
    return Part(kind, settings, part.slots if slots is None else slots, part.step, part.notes)


def to_optax_part(part: Part, kind: str, slots: Slots | None = None, **hyperparams: Any) -> Part:
    """Return a part of optax's conventions."""
    settings = dict(hyperparams)
    if part.hyperparams.get("maximize"):
        settings["maximize"] = True
    return Part(kind, settings, part.slots if slots is None else slots, part.step, part.notes)


def torch_settings(part: Part) -> dict[str, Any]:
    """Return a torch group's hyperparameters, flags that older versions did not have filled in as torch does."""
    return {**TORCH[part.kind].defaults, **part.hyperparams}


def decayed(hyperparams: Mapping[str, Any], mask: Call | None) -> Call | None:
    """Return `optax.add_decayed_weights` where there is weight decay, else None."""
    rate = hyperparams.get("weight_decay")
    if not rate:
        return None
    return Call("optax.add_decayed_weights", (rate,), {} if mask is None else {"mask": mask})


def stock(function: str, hyperparams: Mapping[str, Any], *names: str, **more: Any) -> Call:
    """Return a call with these of the hyperparameters as keyword arguments."""
    return Call(function, (), {**{name: hyperparams[name] for name in names}, **more})


def learning_rate(hyperparams: Mapping[str, Any]) -> Call:
    """Return `optax.scale_by_learning_rate`."""
    return Call("optax.scale_by_learning_rate", (hyperparams["learning_rate"],))


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
