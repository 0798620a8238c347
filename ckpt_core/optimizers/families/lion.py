"""Lion."""

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

__all__ = ["Lion"]


class Lion(Family):
    """`ckpt_torch.optim.Lion` (torch itself has none; third-party ones keep the same `exp_avg`) and `optax.lion`.

    Both: u = sign(b1 m + (1 - b1) g); m = b2 m + (1 - b2) g; p = p - lr (u + weight_decay p). Exact, `exp_avg` is `mu`.
    torch's keeps no step, and the rule needs none: `count` is what the checkpoint counts, or 0.

    Sources: Chen et al., arXiv:2302.06675; `optax.scale_by_lion`.
    """

    torch_kinds: ClassVar[tuple[str, ...]] = ("lion",)
    optax_kinds: ClassVar[tuple[str, ...]] = ("lion",)

    def to_optax(self, part: Part) -> Part:
        known = torch_settings(part)
        b1, b2 = known["betas"]
        return to_optax_part(
            part, "lion", learning_rate=known["lr"], b1=b1, b2=b2, weight_decay=known["weight_decay"]
        )

    def to_torch(self, part: Part) -> Part:
        part = complete_optax(part)
        known = part.hyperparams
        return to_torch_part(
            part,
            "lion",
            lr=known["learning_rate"],
            betas=(known["b1"], known["b2"]),
            weight_decay=known["weight_decay"],
        )

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        more = {} if mask is None else {"mask": mask}
        return stock("optax.lion", hyperparams, "learning_rate", "b1", "b2", "weight_decay", **more)
