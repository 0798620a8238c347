"""SGD with momentum, Nesterov and dampening."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_core.families.base import Family, Part, check_momentum, refuse
from ckpt_core.families.building import decayed, learning_rate, stock
from ckpt_core.families.pieces import EMPTY, TRACE, rate
from ckpt_core.families.recipe import Call, chained
from ckpt_core.families.rules import Keeps, OptaxRule, TorchRule

__all__ = ["Sgd"]


def _state(call: Call) -> tuple[Keeps, ...]:
    return EMPTY if call.kwargs.get("momentum") is None else TRACE, rate(call)


class Sgd(Family):
    """`torch.optim.SGD` and `optax.sgd`.

    Both: g = grad + weight_decay p; b = momentum b + (1 - dampening) g; u = g + momentum b (Nesterov) or b;
    p = p - lr u. Exact, `momentum_buffer` is `trace`. The L2 term is `add_decayed_weights` before the rule, the
    dampening `scale(1 - dampening)` before `trace`; torch's very first buffer is the undamped gradient, so that a
    damped run crosses after its first step.

    Sources: torch.optim.SGD's algorithm; `optax.trace`, `optax.sgd`.
    """

    torch = (
        TorchRule(
            "sgd",
            "torch.optim.SGD",
            {"momentum_buffer": "trace"},
            {"lr": 0.001, "momentum": 0, "dampening": 0, "weight_decay": 0, "nesterov": False, "maximize": False,
             "foreach": None, "differentiable": False, "fused": None},
            marks=frozenset({"momentum", "dampening"}),
            lacks=frozenset({"ns_steps"}),
            has_step=False,
        ),
    )  # fmt: skip
    optax = (
        OptaxRule(
            "sgd", "optax.sgd", {"learning_rate": None, "momentum": None, "nesterov": False}, (TRACE,), False
        ),
    )
    functions = {"optax.sgd": _state}
    names = {
        "lr": "learning_rate", "momentum": "momentum", "nesterov": "nesterov", "dampening": "dampening",
        "weight_decay": "weight_decay",
    }  # fmt: skip

    def to_optax(self, part: Part) -> Part:
        known = self.in_optax(part)
        if not known["momentum"]:
            return part.becoming("sgd", {**known, "momentum": None, "nesterov": False})
        if known["dampening"] and not part.slots.get("trace"):
            refuse(
                "torch's SGD with dampening leaves the very first gradient undamped, and the state is from before it",
                "Cross after the first step.",
            )
        return part.becoming("sgd", {**known, "nesterov": bool(known["nesterov"])})

    def to_torch(self, part: Part) -> Part:
        part = self.complete(part)
        check_momentum(part)
        known = {"dampening": 0, **self.in_torch(part)}
        return part.becoming("sgd", {**known, "momentum": known["momentum"] or 0})

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        decay = decayed(hyperparams, mask)
        if not (hyperparams.get("momentum") and hyperparams.get("dampening")):
            return chained(decay, stock("optax.sgd", hyperparams, "learning_rate", "momentum", "nesterov"))
        return chained(
            decay,
            Call("optax.scale", (1 - hyperparams["dampening"],)),
            Call("optax.trace", (), {"decay": hyperparams["momentum"]}),
            learning_rate(hyperparams),
        )
