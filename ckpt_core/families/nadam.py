"""NAdam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.families.adam import ADAM_NAMES, ADAM_SLOTS, ADAM_STOCK
from ckpt_core.families.base import Family, Part, check_eps_root, filled
from ckpt_core.families.building import around, decayed, masked, stock
from ckpt_core.families.pieces import ADAM, chain, decay, ours, rate
from ckpt_core.families.recipe import Call, chained
from ckpt_core.families.rules import OptaxRule, TorchRule

__all__ = ["Nadam"]

_OURS = ours("nadam", "ScaleByTorchNadamState", "count mu nu mu_product")

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

    torch = (
        TorchRule(
            "nadam",
            "torch.optim.NAdam",
            {"mu_product": "mu_product", **ADAM_SLOTS},
            {"lr": 0.002, "betas": (0.9, 0.999), "eps": 1e-08, "weight_decay": 0, "momentum_decay": 0.004,
             "decoupled_weight_decay": False, "maximize": False, "foreach": None, "capturable": False,
             "differentiable": False},
            marks=frozenset({"momentum_decay"}),
        ),
    )  # fmt: skip
    optax = (
        OptaxRule("nadam", "optax.nadam", ADAM_STOCK, (ADAM,)),
        OptaxRule("nadamw", "optax.nadamw", {**ADAM_STOCK, "weight_decay": 0.0001}, (ADAM,)),
        OptaxRule(
            "torch_nadam",
            "ckpt_flax.transforms.scale_by_torch_nadam",
            {"learning_rate": None, "b1": 0.9, "b2": 0.999, "eps": 1e-08, "momentum_decay": 0.004,
             "decoupled": False},
            (_OURS,),
        ),
    )  # fmt: skip
    functions = {
        "optax.nadam": chain(ADAM, rate),
        "optax.nadamw": chain(ADAM, decay, rate),
        "ckpt_flax.transforms.scale_by_torch_nadam": lambda _: _OURS,
    }
    names = {**ADAM_NAMES, "momentum_decay": "momentum_decay", "decoupled_weight_decay": "decoupled"}
    scalars = frozenset({"mu_product"})

    def to_optax(self, part: Part) -> Part:
        known = self.in_optax(part)
        if known["momentum_decay"] < _NEGLIGIBLE:
            return part.becoming("torch_nadam", known)
        slots = {name: slot for name, slot in part.slots.items() if name != "mu_product"}
        del known["momentum_decay"]
        kind = "nadamw" if known.pop("decoupled") else "nadam"
        return part.becoming(kind, {**known, "eps_root": 0.0}, slots)

    def to_torch(self, part: Part) -> Part:
        part = self.complete(part)
        if part.kind == "torch_nadam":
            return part.becoming("nadam", self.in_torch(part))
        check_eps_root(part)
        product = LazyArray.from_numpy(np.asarray(part.hyperparams["b1"] ** (part.step or 0), np.float32))
        slots = {"mu_product": dict.fromkeys(part.slots.get("mu", {}), product), **part.slots}
        more = {"momentum_decay": _NO_DECAY, "decoupled_weight_decay": part.kind == "nadamw"}
        return part.becoming("nadam", {**self.in_torch(part), **more}, slots)

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        names = ("b1", "b2", "eps")
        if kind == "nadam":
            rule = stock("optax.nadam", hyperparams, "learning_rate", *names)
            return chained(decayed(hyperparams, mask), rule)
        if kind == "nadamw":
            return stock("optax.nadamw", hyperparams, "learning_rate", *names, "weight_decay", **masked(mask))
        rule = stock("ckpt_flax.transforms.scale_by_torch_nadam", hyperparams, *names, "momentum_decay")
        return around(rule, hyperparams, mask)

    def initial(self, field: str, param: LazyArray, call: Call) -> LazyArray | None:
        if field == "mu_product":
            return LazyArray.from_numpy(np.ones((), np.float32))
        return filled(param, 0)
