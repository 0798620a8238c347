"""Calls that the recipes of several families are put together from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_core.families.recipe import Call, chained

__all__ = ["around", "decayed", "learning_rate", "masked", "stock"]


def stock(function: str, hyperparams: Mapping[str, Any], *names: str, **more: Any) -> Call:
    """Return a call with these of the hyperparameters as keyword arguments."""
    return Call(function, (), {**{name: hyperparams[name] for name in names}, **more})


def masked(mask: Call | None, name: str = "mask") -> dict[str, Call]:
    """Return the keyword argument of a mask, or none."""
    return {} if mask is None else {name: mask}


def decayed(hyperparams: Mapping[str, Any], mask: Call | None) -> Call | None:
    """Return `optax.add_decayed_weights` where there is weight decay, else None."""
    rate = hyperparams.get("weight_decay")
    return Call("optax.add_decayed_weights", (rate,), masked(mask)) if rate else None


def learning_rate(hyperparams: Mapping[str, Any]) -> Call:
    """Return `optax.scale_by_learning_rate`."""
    return Call("optax.scale_by_learning_rate", (hyperparams["learning_rate"],))


def around(rule: Call, hyperparams: Mapping[str, Any], mask: Call | None) -> Call:
    """Chain a rule with its learning rate and its weight decay: an L2 term before it, or decoupled, after it."""
    decay, rate = decayed(hyperparams, mask), learning_rate(hyperparams)
    return chained(rule, decay, rate) if hyperparams.get("decoupled") else chained(decay, rule, rate)
