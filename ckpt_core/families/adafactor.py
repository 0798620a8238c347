"""Adafactor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.families.base import Family, Part, filled, refuse
from ckpt_core.families.building import stock
from ckpt_core.families.pieces import ours
from ckpt_core.families.recipe import Call
from ckpt_core.families.rules import Keeps, OptaxRule, TorchRule

__all__ = ["Adafactor"]

_STATE = ours(
    "adafactor", "TorchAdafactorState", "count row_var col_var variance", row_var="v_row", col_var="v_col",
    variance="v",
)  # fmt: skip


class Adafactor(Family):
    """`torch.optim.Adafactor` and `ckpt_flax.transforms.torch_adafactor`.

    torch, for two dimensions and more: R and C follow the means of g^2 over the last and the last but one dimension
    with the weight t^beta2_decay; V = R C / mean(R); for one dimension V follows g^2. u = g / sqrt(max(V, eps1^2));
    p = p (1 - lr weight_decay) - max(eps2, rms(p)) min(lr, 1 / sqrt(t)) u / max(1, rms(u) / d). The transformation does
    the same, exactly, over whichever dimensions torch's last two have become (`row_var` and `col_var` keep a dimension
    of size 1 where they average, which moves with the layout). `optax.adafactor` adds its epsilon to g^2, factors the
    two largest dimensions and none below 128, and orders its scalings differently: another rule; it is not translated.
    The rule is one per tensor: a transfer that splits, merges or stacks tensors cannot carry its state.

    Sources: Shazeer and Stern, arXiv:1804.04235; `torch.optim.Adafactor`, `optax.scale_by_factored_rms`.
    """

    torch = (
        TorchRule(
            "adafactor",
            "torch.optim.Adafactor",
            {"row_var": "v_row", "col_var": "v_col", "variance": "v"},
            {"lr": 0.01, "beta2_decay": -0.8, "eps": (None, 0.001), "d": 1.0, "weight_decay": 0.0, "foreach": None,
             "maximize": False},
            optional=frozenset({"row_var", "col_var", "variance"}),
            marks=frozenset({"beta2_decay", "d"}),
        ),
    )  # fmt: skip
    optax = (
        OptaxRule(
            "adafactor",
            "optax.adafactor",
            {"learning_rate": None},
            (Keeps("optax._src.factorized.FactoredState", ("count", "v_row", "v_col", "v")),),
        ),
        OptaxRule(
            "torch_adafactor",
            "ckpt_flax.transforms.torch_adafactor",
            {"learning_rate": None, "beta2_decay": -0.8, "eps": (None, 0.001), "d": 1.0, "weight_decay": 0.0},
            (_STATE,),
        ),
    )
    functions = {"ckpt_flax.transforms.torch_adafactor": lambda _: _STATE}
    names = {"lr": "learning_rate", **{name: name for name in ("beta2_decay", "eps", "d", "weight_decay")}}
    takes_mask = False
    is_per_tensor = True
    factored = frozenset({"v_row", "v_col"})

    def to_optax(self, part: Part) -> Part:
        return part.becoming("torch_adafactor", self.in_optax(part))

    def to_torch(self, part: Part) -> Part:
        if part.kind == "adafactor":
            refuse(
                "optax.adafactor factors other dimensions than torch's Adafactor and places its epsilons elsewhere: neither state continues the other",
                "Run ckpt_flax.transforms.torch_adafactor in place of it where a run is to cross.",
            )
        part = self.complete(part)
        return part.becoming("adafactor", self.in_torch(part))

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        if kind == "adafactor":
            refuse("an optax.adafactor is made by its own call alone", "Build it as the run did.")
        names = [name for name in self.names.values() if isinstance(name, str)]
        return stock("ckpt_flax.transforms.torch_adafactor", hyperparams, *names)

    def initial(self, field: str, param: LazyArray, call: Call) -> LazyArray | None:
        if (param.ndim < 2) == (field == "variance") and field != "variance":
            refuse(
                f"the state has no {field} of a parameter: it is from before Adafactor's first step on it",
                "Make the optimizer anew on the other side.",
            )
        return filled(param, 0) if param.ndim < 2 and field == "variance" else None
