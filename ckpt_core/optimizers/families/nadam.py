"""NAdam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.optimizers.families.base import (
    Family,
    Part,
    check_eps_root,
    complete_optax,
    decayed,
    learning_rate,
    stock,
    to_optax_part,
    to_torch_part,
    torch_settings,
)
from ckpt_core.optimizers.recipe import Call, chained

__all__ = ["Nadam"]

_NO_DECAY: Final = 1e6
"""A momentum decay under which torch's momentum schedule is constant: 0.96^(1e6 t) is zero in every float."""

_NEGLIGIBLE: Final = 2e4
"""From here on 0.96^(decay t) is below 1e-300."""


class Nadam(Family):
    """`torch.optim.NAdam` and `scale_by_torch_nadam`; `optax.nadam` and `NAdam(momentum_decay=1e6)`.

    torch: mu_t = b1 (1 - 0.96^(t psi) / 2), M_t = mu_1 ... mu_t (kept as `mu_product`);
    u = ((1 - mu_t) g / (1 - M_t) + mu_{t+1} m / (1 - M_{t+1})) / (sqrt(v / (1 - b2^t)) + eps). The transformation does
    the same, exactly. `optax.nadam` has the constant momentum mu_t = b1, M_t = b1^t, which is torch's rule when
    psi = momentum_decay is large enough for 0.96^psi to vanish; then `mu_product` is b1^t. torch keeps that product in
    float32, which limits float64 runs to about 1e-8. Against NAdam's default psi = 0.004 `optax.nadam` is another rule.

    Sources: Dozat, "Incorporating Nesterov Momentum into Adam" (2016); `torch.optim.NAdam`, `optax.scale_by_adam`.
    """

    torch_kinds: ClassVar[tuple[str, ...]] = ("nadam",)
    optax_kinds: ClassVar[tuple[str, ...]] = ("nadam", "nadamw", "torch_nadam")

    def to_optax(self, part: Part) -> Part:
        known = torch_settings(part)
        b1, b2 = known["betas"]
        common = {
            "learning_rate": known["lr"],
            "b1": b1,
            "b2": b2,
            "eps": known["eps"],
            "weight_decay": known["weight_decay"],
        }
        decoupled = bool(known["decoupled_weight_decay"])
        if known["momentum_decay"] < _NEGLIGIBLE:
            more = {"momentum_decay": known["momentum_decay"], "decoupled": decoupled}
            return to_optax_part(part, "torch_nadam", **common, **more)
        slots = {name: slot for name, slot in part.slots.items() if name != "mu_product"}
        return to_optax_part(part, "nadamw" if decoupled else "nadam", slots, eps_root=0.0, **common)

    def to_torch(self, part: Part) -> Part:
        part = complete_optax(part)
        known, slots = part.hyperparams, dict(part.slots)
        decay, decoupled = known.get("momentum_decay"), known.get("decoupled", False)
        if part.kind != "torch_nadam":
            check_eps_root(part)
            decay, decoupled = _NO_DECAY, part.kind == "nadamw"
            product = LazyArray.from_numpy(np.asarray(known["b1"] ** (part.step or 0), np.float32))
            slots["mu_product"] = dict.fromkeys(slots.get("mu", {}), product)
        return to_torch_part(
            part,
            "nadam",
            slots,
            lr=known["learning_rate"],
            betas=(known["b1"], known["b2"]),
            eps=known["eps"],
            weight_decay=known.get("weight_decay", 0),
            momentum_decay=decay,
            decoupled_weight_decay=bool(decoupled),
        )

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        names = ("b1", "b2", "eps")
        decay, rate = decayed(hyperparams, mask), learning_rate(hyperparams)
        if kind == "nadam":
            return chained(decay, stock("optax.nadam", hyperparams, "learning_rate", *names))
        if kind == "nadamw":
            more = {} if mask is None else {"mask": mask}
            return stock("optax.nadamw", hyperparams, "learning_rate", *names, "weight_decay", **more)
        rule = stock("ckpt_flax.transforms.scale_by_torch_nadam", hyperparams, *names, "momentum_decay")
        return chained(rule, decay, rate) if hyperparams.get("decoupled") else chained(decay, rule, rate)
