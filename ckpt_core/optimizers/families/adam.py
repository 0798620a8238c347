"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ckpt_core.optimizers.families.base import (
    Family,
    Part,
    check_eps_root,
    complete_optax,
    decayed,
    stock,
    to_optax_part,
    to_torch_part,
    torch_settings,
)
from ckpt_core.optimizers.recipe import Call, chained

__all__ = ["Adam"]


class Adam(Family):
    """`torch.optim.Adam`, `torch.optim.AdamW` and `optax.adam`, `optax.adamw`.

    Both: m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; u = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps);
    p = p - lr u. Exact, `exp_avg` is `mu`, `exp_avg_sq` is `nu`, `step` is `count`. Adam's weight decay is an L2 term:
    `add_decayed_weights` before the rule. AdamW's is decoupled: p = p - lr (u + weight_decay p), in optax as in torch,
    where the factor 1 - lr weight_decay is applied first. optax's `eps_root` must be 0: torch has no epsilon under
    the root.

    Sources: Kingma and Ba, arXiv:1412.6980; Loshchilov and Hutter, arXiv:1711.05101; `torch.optim.Adam`,
    `optax.scale_by_adam`.
    """

    torch_kinds: ClassVar[tuple[str, ...]] = ("adam", "adamw")
    optax_kinds: ClassVar[tuple[str, ...]] = ("adam", "adamw")

    def to_optax(self, part: Part) -> Part:
        known = torch_settings(part)
        b1, b2 = known["betas"]
        kind = "adamw" if known["decoupled_weight_decay"] else "adam"
        return to_optax_part(
            part,
            kind,
            learning_rate=known["lr"],
            b1=b1,
            b2=b2,
            eps=known["eps"],
            eps_root=0.0,
            weight_decay=known["weight_decay"],
        )

    def to_torch(self, part: Part) -> Part:
        part = complete_optax(part)
        check_eps_root(part)
        known = part.hyperparams
        return to_torch_part(
            part,
            part.kind,
            lr=known["learning_rate"],
            betas=(known["b1"], known["b2"]),
            eps=known["eps"],
            weight_decay=known.get("weight_decay", 0),
        )

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        names = ("learning_rate", "b1", "b2", "eps")
        if kind == "adam":
            return chained(decayed(hyperparams, mask), stock("optax.adam", hyperparams, *names))
        more = {} if mask is None else {"mask": mask}
        return stock("optax.adamw", hyperparams, *names, "weight_decay", **more)
