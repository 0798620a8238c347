"""RAdam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ckpt_core.optimizers.families.base import (
    Family,
    Part,
    check_eps_root,
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

__all__ = ["Radam"]


class Radam(Family):
    """`torch.optim.RAdam` and `ckpt_flax.transforms.scale_by_torch_radam`; `optax.radam`, approximately.

    torch, once rho_t > 5: u = r_t m / (1 - b1^t) sqrt(1 - b2^t) / (sqrt(v) + eps); before, u = m / (1 - b1^t). The
    transformation does the same, exactly. `optax.radam` divides by sqrt(v / (1 - b2^t)) + eps: eps stands elsewhere, so
    that the two part by about eps / sqrt(v) (2e-5 relative after 100 float64 steps). A state of `optax.radam` is
    translated with a note; one of torch goes to the transformation.

    Sources: Liu et al., arXiv:1908.03265; `torch.optim.RAdam`, `optax.scale_by_radam`.
    """

    torch_kinds: ClassVar[tuple[str, ...]] = ("radam",)
    optax_kinds: ClassVar[tuple[str, ...]] = ("radam", "torch_radam")

    def to_optax(self, part: Part) -> Part:
        known = torch_settings(part)
        b1, b2 = known["betas"]
        return to_optax_part(
            part,
            "torch_radam",
            learning_rate=known["lr"],
            b1=b1,
            b2=b2,
            eps=known["eps"],
            weight_decay=known["weight_decay"],
            decoupled=bool(known["decoupled_weight_decay"]),
        )

    def to_torch(self, part: Part) -> Part:
        part = complete_optax(part)
        known = part.hyperparams
        if part.kind == "radam":
            check_eps_root(part)
            if known["threshold"] != 5.0 or known["nesterov"]:
                refuse(
                    "optax.radam was run with a threshold other than 5 or with nesterov, which torch's RAdam does not have",
                    "Run ckpt_flax.transforms.scale_by_torch_radam where a run is to cross.",
                )
            part = part.noting(
                "torch's RAdam adds eps to sqrt(v), optax.radam to sqrt(v / (1 - b2^t)): the runs part by about eps / sqrt(v)"
            )
        return to_torch_part(
            part,
            "radam",
            lr=known["learning_rate"],
            betas=(known["b1"], known["b2"]),
            eps=known["eps"],
            weight_decay=known.get("weight_decay", 0),
            decoupled_weight_decay=bool(known.get("decoupled")),
        )

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        decay, rate = decayed(hyperparams, mask), learning_rate(hyperparams)
        if kind == "radam":
            return chained(
                decay, stock("optax.radam", hyperparams, "learning_rate", "b1", "b2", "eps", "threshold")
            )
        rule = stock("ckpt_flax.transforms.scale_by_torch_radam", hyperparams, "b1", "b2", "eps")
        return chained(rule, decay, rate) if hyperparams.get("decoupled") else chained(decay, rule, rate)
