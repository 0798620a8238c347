"""Adagrad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.families.base import Family, Part, changed, filled
from ckpt_core.families.building import around, decayed, stock
from ckpt_core.families.pieces import chain, ours, rate
from ckpt_core.families.recipe import Call, chained
from ckpt_core.families.rules import Keeps, OptaxRule, TorchRule

__all__ = ["Adagrad"]

_STOCK = Keeps("optax._src.transform.ScaleByRssState", ("sum_of_squares",))
_OURS = ours("adagrad", "ScaleByTorchAdagradState", "count sum_of_squares")


class Adagrad(Family):
    """`torch.optim.Adagrad` and `ckpt_flax.transforms.scale_by_torch_adagrad`; `optax.adagrad` and `Adagrad(eps=0)`.

    torch: s = s + g^2; u = g / (sqrt(s) + eps) / (1 + (t - 1) lr_decay). The transformation does the same, exactly.
    optax: u = g / sqrt(s + e). With s' = s + e that is torch's rule with eps = 0: exact, `sum` is
    `sum_of_squares` + e, up to the rounding of that sum. Against another eps `optax.adagrad` is another rule.

    Sources: Duchi, Hazan and Singer (2011); `torch.optim.Adagrad`, `optax.scale_by_rss`.
    """

    torch = (
        TorchRule(
            "adagrad",
            "torch.optim.Adagrad",
            {"sum": "sum_of_squares"},
            {"lr": 0.01, "lr_decay": 0, "eps": 1e-10, "weight_decay": 0, "initial_accumulator_value": 0,
             "foreach": None, "maximize": False, "differentiable": False, "fused": None},
            marks=frozenset({"lr_decay", "initial_accumulator_value"}),
            is_eager=True,
        ),
    )  # fmt: skip
    optax = (
        OptaxRule(
            "adagrad",
            "optax.adagrad",
            {"learning_rate": None, "initial_accumulator_value": 0.1, "eps": 1e-07},
            (_STOCK,),
        ),
        OptaxRule(
            "torch_adagrad",
            "ckpt_flax.transforms.scale_by_torch_adagrad",
            {"learning_rate": None, "lr_decay": 0.0, "eps": 1e-10, "initial_accumulator_value": 0.0},
            (_OURS,),
        ),
    )
    functions = {
        "optax.adagrad": chain(_STOCK, rate),
        "ckpt_flax.transforms.scale_by_torch_adagrad": lambda _: _OURS,
    }
    names = {
        "lr": "learning_rate",
        **{name: name for name in ("lr_decay", "eps", "initial_accumulator_value", "weight_decay")},
    }

    def to_optax(self, part: Part) -> Part:
        return part.becoming("torch_adagrad", self.in_optax(part))

    def to_torch(self, part: Part) -> Part:
        part = self.complete(part)
        if part.kind == "torch_adagrad":
            return part.becoming("adagrad", self.in_torch(part))
        known = part.hyperparams
        raised = changed(part.slots.get("sum_of_squares", {}), lambda sums: sums + known["eps"])
        first = known["initial_accumulator_value"] + known["eps"]
        settings = {**self.in_torch(part), "lr_decay": 0, "eps": 0.0, "initial_accumulator_value": first}
        return part.becoming("adagrad", settings, {**part.slots, "sum_of_squares": raised})

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        if kind == "adagrad":
            rule = stock("optax.adagrad", hyperparams, *self.optax_rule(kind).defaults)
            return chained(decayed(hyperparams, mask), rule)
        names = ("eps", "lr_decay", "initial_accumulator_value")
        rule = stock("ckpt_flax.transforms.scale_by_torch_adagrad", hyperparams, *names)
        return around(rule, hyperparams, mask)

    def initial(self, field: str, param: LazyArray, call: Call) -> LazyArray | None:
        return filled(param, call.kwargs.get("initial_accumulator_value", 0))
