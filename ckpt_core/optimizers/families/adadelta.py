"""Adadelta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ckpt_core.optimizers.families.base import (
    Family,
    Part,
    complete_optax,
    stock,
    to_optax_part,
    to_torch_part,
    torch_settings,
)
from ckpt_core.optimizers.recipe import Call

__all__ = ["Adadelta"]


class Adadelta(Family):
    """`torch.optim.Adadelta` and `optax.adadelta`.

    Both: g = grad + weight_decay p; E = rho E + (1 - rho) g^2; u = g sqrt(D + eps) / sqrt(E + eps);
    D = rho D + (1 - rho) u^2; p = p - lr u. Exact, `square_avg` is `e_g`, `acc_delta` is `e_x`.

    Sources: Zeiler, arXiv:1212.5701; `torch.optim.Adadelta`, `optax.scale_by_adadelta`.
    """

    torch_kinds: ClassVar[tuple[str, ...]] = ("adadelta",)
    optax_kinds: ClassVar[tuple[str, ...]] = ("adadelta",)

    def to_optax(self, part: Part) -> Part:
        known = torch_settings(part)
        return to_optax_part(
            part,
            "adadelta",
            learning_rate=known["lr"],
            rho=known["rho"],
            eps=known["eps"],
            weight_decay=known["weight_decay"],
        )

    def to_torch(self, part: Part) -> Part:
        part = complete_optax(part)
        known = part.hyperparams
        return to_torch_part(
            part,
            "adadelta",
            lr=known["learning_rate"],
            rho=known["rho"],
            eps=known["eps"],
            weight_decay=known["weight_decay"],
        )

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        more = {} if mask is None else {"weight_decay_mask": mask}
        return stock("optax.adadelta", hyperparams, "learning_rate", "rho", "eps", "weight_decay", **more)
