"""Adamax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ckpt_core.optimizers.families.base import (
    Family,
    Part,
    complete_optax,
    decayed,
    refuse,
    stock,
    to_optax_part,
    to_torch_part,
    torch_settings,
)
from ckpt_core.optimizers.recipe import Call, chained

__all__ = ["Adamax"]


class Adamax(Family):
    """`torch.optim.Adamax` and `optax.adamax`.

    Both: m = b1 m + (1 - b1) g; w = max(b2 w, |g| + eps); p = p - lr m / (1 - b1^t) / w. Exact, `exp_inf` is `nu`. The
    L2 term is `add_decayed_weights` before the rule. torch has no Adamax with decoupled weight decay.

    Sources: Kingma and Ba, arXiv:1412.6980, section 7.1; `torch.optim.Adamax`, `optax.scale_by_adamax`.
    """

    torch_kinds: ClassVar[tuple[str, ...]] = ("adamax",)
    optax_kinds: ClassVar[tuple[str, ...]] = ("adamax", "adamaxw")

    def to_optax(self, part: Part) -> Part:
        known = torch_settings(part)
        b1, b2 = known["betas"]
        return to_optax_part(
            part,
            "adamax",
            learning_rate=known["lr"],
            b1=b1,
            b2=b2,
            eps=known["eps"],
            weight_decay=known["weight_decay"],
        )

    def to_torch(self, part: Part) -> Part:
        part = complete_optax(part)
        known = part.hyperparams
        if part.kind == "adamaxw" and known["weight_decay"]:
            refuse(
                "torch's Adamax has no decoupled weight decay, which optax.adamaxw was run with",
                "Stay in optax, or finish the run with weight_decay=0 first.",
            )
        return to_torch_part(
            part,
            "adamax",
            lr=known["learning_rate"],
            betas=(known["b1"], known["b2"]),
            eps=known["eps"],
            weight_decay=known.get("weight_decay", 0),
        )

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        names = ("learning_rate", "b1", "b2", "eps")
        if kind == "adamax":
            return chained(decayed(hyperparams, mask), stock("optax.adamax", hyperparams, *names))
        more = {} if mask is None else {"mask": mask}
        return stock("optax.adamaxw", hyperparams, *names, "weight_decay", **more)
