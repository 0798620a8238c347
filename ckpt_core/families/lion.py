"""Lion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_core.families.base import Family, Part
from ckpt_core.families.building import masked, stock
from ckpt_core.families.pieces import chain, decay, rate
from ckpt_core.families.recipe import Call
from ckpt_core.families.rules import Keeps, OptaxRule, TorchRule

__all__ = ["Lion"]

_STATE = Keeps("optax._src.transform.ScaleByLionState", ("count", "mu"))


class Lion(Family):
    """`ckpt_torch.optim.Lion` (torch itself has none; third-party ones keep the same `exp_avg`) and `optax.lion`.

    Both: u = sign(b1 m + (1 - b1) g); m = b2 m + (1 - b2) g; p = p - lr (u + weight_decay p). Exact, `exp_avg` is `mu`.
    torch's keeps no step, and the rule needs none: `count` is what the checkpoint counts, or 0.

    Sources: Chen et al., arXiv:2302.06675; `optax.scale_by_lion`.
    """

    torch = (
        TorchRule(
            "lion",
            "ckpt_torch.optim.Lion",
            {"exp_avg": "mu"},
            {"lr": 0.0001, "betas": (0.9, 0.99), "weight_decay": 0.0},
            has_step=False,
        ),
    )
    optax = (
        OptaxRule(
            "lion",
            "optax.lion",
            {"learning_rate": None, "b1": 0.9, "b2": 0.99, "weight_decay": 0.001},
            (_STATE,),
        ),
    )
    functions = {"optax.lion": chain(_STATE, decay, rate)}
    names = {"lr": "learning_rate", "betas": ("b1", "b2"), "weight_decay": "weight_decay"}

    def to_optax(self, part: Part) -> Part:
        return part.becoming("lion", self.in_optax(part))

    def to_torch(self, part: Part) -> Part:
        part = self.complete(part)
        return part.becoming("lion", self.in_torch(part))

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        names = ("learning_rate", "b1", "b2", "weight_decay")
        return stock("optax.lion", hyperparams, *names, **masked(mask))
