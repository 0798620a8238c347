"""AMSGrad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ckpt_core.families.adam import ADAM_NAMES, ADAM_STOCK, Adam
from ckpt_core.families.base import Family, Part, refuse
from ckpt_core.families.building import around, stock
from ckpt_core.families.pieces import chain, ours, rate
from ckpt_core.families.recipe import Call
from ckpt_core.families.rules import Keeps, OptaxRule

__all__ = ["Amsgrad"]

_STOCK = Keeps("optax._src.transform.ScaleByAmsgradState", ("count", "mu", "nu", "nu_max"))
_OURS = ours("amsgrad", "ScaleByTorchAmsgradState", "count mu nu max_nu", max_nu="nu_max")


class Amsgrad(Family):
    """`torch.optim.Adam(amsgrad=True)`, `AdamW(amsgrad=True)` and `ckpt_flax.transforms.scale_by_torch_amsgrad`.

    torch: vmax = max(vmax, v); u = m / (1 - b1^t) / (sqrt(vmax / (1 - b2^t)) + eps), with Adam's m and v. The
    transformation does the same, exactly; `max_exp_avg_sq` is its `max_nu`. `optax.amsgrad` takes the maximum of the
    corrected v / (1 - b2^t) instead, whose early values are larger: a different rule, after 100 steps as far apart as
    the two ends of the run, and none that torch has.

    Sources: Reddi, Kale and Kumar, "On the Convergence of Adam and Beyond" (2018); `torch.optim.Adam`,
    `optax.scale_by_amsgrad`.
    """

    torch = tuple(replace(rule, flags={**rule.flags, "amsgrad": True}) for rule in Adam.torch)
    optax = (
        OptaxRule("amsgrad", "optax.amsgrad", ADAM_STOCK, (_STOCK,)),
        OptaxRule(
            "torch_amsgrad",
            "ckpt_flax.transforms.scale_by_torch_amsgrad",
            {"learning_rate": None, "b1": 0.9, "b2": 0.999, "eps": 1e-08, "decoupled": False},
            (_OURS,),
        ),
    )
    functions = {
        "optax.amsgrad": chain(_STOCK, rate),
        "ckpt_flax.transforms.scale_by_torch_amsgrad": lambda _: _OURS,
    }
    names = {**ADAM_NAMES, "decoupled_weight_decay": "decoupled"}

    def to_optax(self, part: Part) -> Part:
        return part.becoming("torch_amsgrad", self.in_optax(part))

    def to_torch(self, part: Part) -> Part:
        if part.kind == "amsgrad":
            refuse(
                "optax.amsgrad takes the maximum of the corrected second moment, torch of the raw one: neither state continues the other",
                "Run ckpt_flax.transforms.scale_by_torch_amsgrad in place of optax.amsgrad where a run is to cross.",
            )
        part = self.complete(part)
        kind = "adamw" if part.hyperparams["decoupled"] else "adam"
        return part.becoming(kind, {**self.in_torch(part), "amsgrad": True})

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        if kind == "amsgrad":
            return stock("optax.amsgrad", hyperparams, *ADAM_STOCK)
        rule = stock("ckpt_flax.transforms.scale_by_torch_amsgrad", hyperparams, "b1", "b2", "eps")
        return around(rule, hyperparams, mask)
