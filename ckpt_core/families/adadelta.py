"""Adadelta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_core.families.base import Family, Part
from ckpt_core.families.building import masked, stock
from ckpt_core.families.pieces import chain, decay, rate
from ckpt_core.families.recipe import Call
from ckpt_core.families.rules import Keeps, OptaxRule, TorchRule

__all__ = ["Adadelta"]

_STATE = Keeps("optax._src.transform.ScaleByAdaDeltaState", ("e_g", "e_x"))


class Adadelta(Family):
    """`torch.optim.Adadelta` and `optax.adadelta`.

    Both: g = grad + weight_decay p; E = rho E + (1 - rho) g^2; u = g sqrt(D + eps) / sqrt(E + eps);
    D = rho D + (1 - rho) u^2; p = p - lr u. Exact, `square_avg` is `e_g`, `acc_delta` is `e_x`.

    Sources: Zeiler, arXiv:1212.5701; `torch.optim.Adadelta`, `optax.scale_by_adadelta`.
    """

    torch = (
        TorchRule(
            "adadelta",
            "torch.optim.Adadelta",
            {"square_avg": "e_g", "acc_delta": "e_x"},
            {"lr": 1.0, "rho": 0.9, "eps": 1e-06, "weight_decay": 0, "maximize": False, "capturable": False,
             "foreach": None, "differentiable": False},
            marks=frozenset({"rho", "eps"}),
        ),
    )  # fmt: skip
    optax = (
        OptaxRule(
            "adadelta",
            "optax.adadelta",
            {"learning_rate": None, "rho": 0.9, "eps": 1e-06, "weight_decay": 0.0},
            (_STATE,),
        ),
    )
    functions = {"optax.adadelta": chain(decay, _STATE, rate)}
    names = {"lr": "learning_rate", "rho": "rho", "eps": "eps", "weight_decay": "weight_decay"}

    def to_optax(self, part: Part) -> Part:
        return part.becoming("adadelta", self.in_optax(part))

    def to_torch(self, part: Part) -> Part:
        part = self.complete(part)
        return part.becoming("adadelta", self.in_torch(part))

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        more = masked(mask, "weight_decay_mask")
        return stock("optax.adadelta", hyperparams, "learning_rate", "rho", "eps", "weight_decay", **more)
