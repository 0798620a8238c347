"""Rprop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.families.base import Family, Part, filled, refuse
from ckpt_core.families.building import stock
from ckpt_core.families.pieces import EMPTY, chain, ours
from ckpt_core.families.recipe import Call, chained
from ckpt_core.families.rules import Keeps, OptaxRule, TorchRule

__all__ = ["Rprop"]

_STOCK = Keeps("optax._src.transform.ScaleByRpropState", ("step_sizes", "prev_updates"))
_OURS = ours("rprop", "ScaleByTorchRpropState", "step_sizes prev_grads")
_DEFAULTS = {
    "learning_rate": None, "eta_minus": 0.5, "eta_plus": 1.2, "min_step_size": 1e-06, "max_step_size": 50.0
}  # fmt: skip


class Rprop(Family):
    """`torch.optim.Rprop` and `ckpt_flax.transforms.scale_by_torch_rprop`.

    torch: s = sign(g g'), g' the gradient before; the step sizes grow by eta+ where s > 0 and shrink by eta- where
    s < 0, clipped; where s < 0 the gradient counts as zero; p = p - step sign(g). The transformation does the same,
    exactly; `prev` is its `prev_grads`. `optax.rprop` emits the update that it computed one step earlier and keeps
    updates instead of gradients: a different rule from the first step on.

    Sources: Riedmiller and Braun (1993); `torch.optim.Rprop`, `optax.scale_by_rprop`.
    """

    torch = (
        TorchRule(
            "rprop",
            "torch.optim.Rprop",
            {"prev": "prev_grads", "step_size": "step_sizes"},
            {"lr": 0.01, "etas": (0.5, 1.2), "step_sizes": (1e-06, 50), "foreach": None, "maximize": False,
             "differentiable": False, "capturable": False},
            marks=frozenset({"etas", "step_sizes"}),
        ),
    )  # fmt: skip
    optax = (
        OptaxRule("rprop", "optax.rprop", _DEFAULTS, (_STOCK,)),
        OptaxRule("torch_rprop", "ckpt_flax.transforms.scale_by_torch_rprop", _DEFAULTS, (_OURS,)),
    )
    functions = {
        "optax.rprop": chain(_STOCK, EMPTY),
        "ckpt_flax.transforms.scale_by_torch_rprop": lambda _: _OURS,
    }
    names = {
        "lr": "learning_rate", "etas": ("eta_minus", "eta_plus"), "step_sizes": ("min_step_size", "max_step_size")
    }  # fmt: skip

    def to_optax(self, part: Part) -> Part:
        return part.becoming("torch_rprop", self.in_optax(part))

    def to_torch(self, part: Part) -> Part:
        if part.kind == "rprop":
            refuse(
                "optax.rprop applies each update one step late and keeps updates where torch keeps gradients: neither state continues the other",
                "Run ckpt_flax.transforms.scale_by_torch_rprop in place of optax.rprop where a run is to cross.",
            )
        part = self.complete(part)
        return part.becoming("rprop", self.in_torch(part))

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        if kind == "rprop":
            return stock("optax.rprop", hyperparams, *_DEFAULTS)
        rule = stock("ckpt_flax.transforms.scale_by_torch_rprop", hyperparams, *_DEFAULTS)
        return chained(rule, Call("optax.scale", (-1.0,)))

    def initial(self, field: str, param: LazyArray, call: Call) -> LazyArray | None:
        return filled(param, call.kwargs["learning_rate"] if field == "step_sizes" else 0)
