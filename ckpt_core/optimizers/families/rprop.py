"""Rprop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ckpt_core.optimizers.families.base import (
    Family,
    Part,
    complete_optax,
    refuse,
    stock,
    to_optax_part,
    to_torch_part,
    torch_settings,
)
from ckpt_core.optimizers.recipe import Call, chained

__all__ = ["Rprop"]


class Rprop(Family):
    """`torch.optim.Rprop` and `ckpt_flax.transforms.scale_by_torch_rprop`.

    torch: s = sign(g g'), g' the gradient before; the step sizes grow by eta+ where s > 0 and shrink by eta- where
    s < 0, clipped; where s < 0 the gradient counts as zero; p = p - step sign(g). The transformation does the same,
    exactly; `prev` is its `prev_grads`. `optax.rprop` emits the update that it computed one step earlier and keeps
    updates instead of gradients: a different rule from the first step on.

    Sources: Riedmiller and Braun (1993); `torch.optim.Rprop`, `optax.scale_by_rprop`.
    """

    torch_kinds: ClassVar[tuple[str, ...]] = ("rprop",)
    optax_kinds: ClassVar[tuple[str, ...]] = ("rprop", "torch_rprop")

    def to_optax(self, part: Part) -> Part:
        known = torch_settings(part)
        (minus, plus), (low, high) = known["etas"], known["step_sizes"]
        return to_optax_part(
            part,
            "torch_rprop",
            learning_rate=known["lr"],
            eta_minus=minus,
            eta_plus=plus,
            min_step_size=low,
            max_step_size=high,
        )

    def to_torch(self, part: Part) -> Part:
        if part.kind == "rprop":
            refuse(
                "optax.rprop applies each update one step late and keeps updates where torch keeps gradients: neither state continues the other",
                "Run ckpt_flax.transforms.scale_by_torch_rprop in place of optax.rprop where a run is to cross.",
            )
        part = complete_optax(part)
        known = part.hyperparams
        return to_torch_part(
            part,
            "rprop",
            lr=known["learning_rate"],
            etas=(known["eta_minus"], known["eta_plus"]),
            step_sizes=(known["min_step_size"], known["max_step_size"]),
        )

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        names = ("learning_rate", "eta_minus", "eta_plus", "min_step_size", "max_step_size")
        if kind == "rprop":
            return stock("optax.rprop", hyperparams, *names)
        rule = stock("ckpt_flax.transforms.scale_by_torch_rprop", hyperparams, *names)
        return chained(rule, Call("optax.scale", (-1.0,)))
