"""Adamax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_core.families.adam import ADAM_NAMES
from ckpt_core.families.base import Family, Part, refuse
from ckpt_core.families.building import decayed, masked, stock
from ckpt_core.families.pieces import ADAM, chain, decay, rate
from ckpt_core.families.recipe import Call, chained
from ckpt_core.families.rules import OptaxRule, TorchRule

__all__ = ["Adamax"]

_STOCK = {"learning_rate": None, "b1": 0.9, "b2": 0.999, "eps": 1e-08}


class Adamax(Family):
    """`torch.optim.Adamax` and `optax.adamax`.

    Both: m = b1 m + (1 - b1) g; w = max(b2 w, |g| + eps); p = p - lr m / (1 - b1^t) / w. Exact, `exp_inf` is `nu`. The
    L2 term is `add_decayed_weights` before the rule. torch has no Adamax with decoupled weight decay.

    Sources: Kingma and Ba, arXiv:1412.6980, section 7.1; `torch.optim.Adamax`, `optax.scale_by_adamax`.
    """

    torch = (
        TorchRule(
            "adamax",
            "torch.optim.Adamax",
            {"exp_avg": "mu", "exp_inf": "nu"},
            {"lr": 0.002, "betas": (0.9, 0.999), "eps": 1e-08, "weight_decay": 0, "foreach": None, "maximize": False,
             "differentiable": False, "capturable": False},
        ),
    )  # fmt: skip
    optax = (
        OptaxRule("adamax", "optax.adamax", _STOCK, (ADAM,)),
        OptaxRule("adamaxw", "optax.adamaxw", {**_STOCK, "weight_decay": 0.0001}, (ADAM,)),
    )
    functions = {"optax.adamax": chain(ADAM, rate), "optax.adamaxw": chain(ADAM, decay, rate)}
    names = ADAM_NAMES

    def to_optax(self, part: Part) -> Part:
        return part.becoming("adamax", self.in_optax(part))

    def to_torch(self, part: Part) -> Part:
        part = self.complete(part)
        if part.kind == "adamaxw" and part.hyperparams["weight_decay"]:
            refuse(
                "torch's Adamax has no decoupled weight decay, which optax.adamaxw was run with",
                "Stay in optax, or finish the run with weight_decay=0 first.",
            )
        return part.becoming("adamax", self.in_torch(part))

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        names = ("learning_rate", "b1", "b2", "eps")
        if kind == "adamax":
            return chained(decayed(hyperparams, mask), stock("optax.adamax", hyperparams, *names))
        return stock("optax.adamaxw", hyperparams, *names, "weight_decay", **masked(mask))
