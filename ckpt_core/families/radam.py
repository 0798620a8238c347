"""RAdam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_core.families.adam import ADAM_NAMES, ADAM_SLOTS, ADAM_STOCK
from ckpt_core.families.base import Family, Part, check_eps_root, refuse
from ckpt_core.families.building import around, decayed, stock
from ckpt_core.families.pieces import ADAM, chain, ours, rate
from ckpt_core.families.recipe import Call, chained
from ckpt_core.families.rules import OptaxRule, TorchRule

__all__ = ["Radam"]

_OURS = ours("radam", "ScaleByTorchRadamState", "count mu nu")


class Radam(Family):
    """`torch.optim.RAdam` and `ckpt_flax.transforms.scale_by_torch_radam`; `optax.radam`, approximately.

    torch, once rho_t > 5: u = r_t m / (1 - b1^t) sqrt(1 - b2^t) / (sqrt(v) + eps); before, u = m / (1 - b1^t). The
    transformation does the same, exactly. `optax.radam` divides by sqrt(v / (1 - b2^t)) + eps: eps stands elsewhere, so
    that the two part by about eps / sqrt(v) (2e-5 relative after 100 float64 steps). A state of `optax.radam` is
    translated with a note; one of torch goes to the transformation, unless it came from `optax.radam`.

    Sources: Liu et al., arXiv:1908.03265; `torch.optim.RAdam`, `optax.scale_by_radam`.
    """

    torch = (
        TorchRule(
            "radam",
            "torch.optim.RAdam",
            ADAM_SLOTS,
            {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-08, "weight_decay": 0, "maximize": False, "foreach": None,
             "capturable": False, "decoupled_weight_decay": False, "differentiable": False},
            marks=frozenset({"betas", "decoupled_weight_decay"}),
            lacks=frozenset({"amsgrad", "momentum_decay"}),
        ),
    )  # fmt: skip
    optax = (
        OptaxRule("radam", "optax.radam", {**ADAM_STOCK, "threshold": 5.0, "nesterov": False}, (ADAM,)),
        OptaxRule(
            "torch_radam",
            "ckpt_flax.transforms.scale_by_torch_radam",
            {"learning_rate": None, "b1": 0.9, "b2": 0.999, "eps": 1e-08, "decoupled": False},
            (_OURS,),
        ),
    )
    functions = {
        "optax.radam": chain(ADAM, rate),
        "ckpt_flax.transforms.scale_by_torch_radam": lambda _: _OURS,
    }
    names = {**ADAM_NAMES, "decoupled_weight_decay": "decoupled"}

    def to_optax(self, part: Part) -> Part:
        known = self.in_optax(part)
        if part.home != "radam" or known["decoupled"]:
            return part.becoming("torch_radam", known)
        del known["decoupled"]
        return part.becoming("radam", {**self.optax_rule("radam").defaults, **known})

    def to_torch(self, part: Part) -> Part:
        part = self.complete(part)
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
        return part.becoming("radam", self.in_torch(part))

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        if kind == "radam":
            rule = stock("optax.radam", hyperparams, "learning_rate", "b1", "b2", "eps", "threshold")
            return chained(decayed(hyperparams, mask), rule)
        rule = stock("ckpt_flax.transforms.scale_by_torch_radam", hyperparams, "b1", "b2", "eps")
        return around(rule, hyperparams, mask)
