"""AMSGrad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ckpt_core.optimizers.families.base import (
    Family,
    Part,
    complete_optax,
    decayed,
    learning_rate,
    refuse,
    stock,
    to_optax_part,
    to_torch_part,
    torch_settings,
)
from ckpt_core.optimizers.recipe import Call, chained

__all__ = ["Amsgrad"]


class Amsgrad(Family):
    """`torch.optim.Adam(amsgrad=True)`, `AdamW(amsgrad=True)` and `ckpt_flax.transforms.scale_by_torch_amsgrad`.

    torch: vmax = max(vmax, v); u = m / (1 - b1^t) / (sqrt(vmax / (1 - b2^t)) + eps), with Adam's m and v. The
    transformation does the same, exactly; `max_exp_avg_sq` is its `max_nu`. `optax.amsgrad` takes the maximum of the
    corrected v / (1 - b2^t) instead, whose early values are larger: a different rule, after 100 steps as far apart as
    the two ends of the run, and none that torch has.

    Sources: Reddi, Kale and Kumar, "On the Convergence of Adam and Beyond" (2018); `torch.optim.Adam`,
    `optax.scale_by_amsgrad`.
    """

    torch_kinds: ClassVar[tuple[str, ...]] = ("amsgrad",)
    optax_kinds: ClassVar[tuple[str, ...]] = ("amsgrad", "torch_amsgrad")

    def to_optax(self, part: Part) -> Part:
        known = torch_settings(part)
        b1, b2 = known["betas"]
        return to_optax_part(
            part,
            "torch_amsgrad",
            learning_rate=known["lr"],
            b1=b1,
            b2=b2,
            eps=known["eps"],
            weight_decay=known["weight_decay"],
            decoupled=bool(known["decoupled_weight_decay"]),
        )

    def to_torch(self, part: Part) -> Part:
        if part.kind == "amsgrad":
            refuse(
                "optax.amsgrad takes the maximum of the corrected second moment, torch of the raw one: neither state continues the other",
                "Run ckpt_flax.transforms.scale_by_torch_amsgrad in place of optax.amsgrad where a run is to cross.",
            )
        part = complete_optax(part)
        known = part.hyperparams
        return to_torch_part(
            part,
            "adamw" if known.get("decoupled") else "adam",
            lr=known["learning_rate"],
            betas=(known["b1"], known["b2"]),
            eps=known["eps"],
            weight_decay=known.get("weight_decay", 0),
            amsgrad=True,
        )

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        if kind == "amsgrad":
            return stock("optax.amsgrad", hyperparams, "learning_rate", "b1", "b2", "eps", "eps_root")
        rule = stock("ckpt_flax.transforms.scale_by_torch_amsgrad", hyperparams, "b1", "b2", "eps")
        decay, rate = decayed(hyperparams, mask), learning_rate(hyperparams)
        return chained(rule, decay, rate) if hyperparams.get("decoupled") else chained(decay, rule, rate)
