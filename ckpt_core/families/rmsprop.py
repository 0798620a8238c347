"""RMSprop: plain, centred, with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ckpt_core.families.base import Family, Part, changed, check_momentum, number_of, refuse
from ckpt_core.families.building import decayed, learning_rate, stock
from ckpt_core.families.pieces import EMPTY, TRACE, rate
from ckpt_core.families.recipe import Call, chained
from ckpt_core.families.rules import Keeps, OptaxRule, TorchRule

__all__ = ["Rmsprop"]

_PLAIN = Keeps("optax._src.transform.ScaleByRmsState", ("nu",))
_CENTRED = Keeps("optax._src.transform.ScaleByRStdDevState", ("mu", "nu"))
_COUNTING = (
    Keeps("optax._src.transform.ScaleByRmsWithCountState", ("count", "nu")),
    Keeps("optax._src.transform.ScaleByRStdDevWithCountState", ("count", "mu", "nu")),
)
"""With optax's bias correction, which torch does not have."""


def _stock_state(call: Call) -> tuple[Keeps, ...]:
    rule = _CENTRED if call.kwargs.get("centered") else _PLAIN
    return rule, rate(call), EMPTY if call.kwargs.get("momentum") is None else TRACE


class Rmsprop(Family):
    """`torch.optim.RMSprop` and `optax.rmsprop(eps_in_sqrt=False)`.

    Both: v = alpha v + (1 - alpha) g^2; u = g / (sqrt(v) + eps), or g / (sqrt(v - a^2) + eps) with
    a = alpha a + (1 - alpha) g when centred. Exact, `square_avg` is `nu`, `grad_avg` is `mu`. With momentum torch keeps
    b = momentum b + u and moves by lr b. `optax.rmsprop` scales first, t = momentum t - lr u, so that t = -lr b while
    the learning rate stays the same; the recipe puts `trace` before the learning rate instead, where t = b to the last
    bit and under any schedule. A state of the stock function is divided by -lr, exact up to rounding.
    `eps_in_sqrt=True`, which is optax's default, is another rule.

    Sources: Hinton's lecture 6e; Graves, arXiv:1308.0850; `torch.optim.RMSprop`, `optax.scale_by_rms`,
    `optax.scale_by_stddev`.
    """

    torch = (
        TorchRule(
            "rmsprop",
            "torch.optim.RMSprop",
            {"square_avg": "nu", "momentum_buffer": "trace", "grad_avg": "mu"},
            {"lr": 0.01, "momentum": 0, "alpha": 0.99, "eps": 1e-08, "centered": False, "weight_decay": 0,
             "capturable": False, "foreach": None, "maximize": False, "differentiable": False},
            optional=frozenset({"momentum_buffer", "grad_avg"}),
            marks=frozenset({"alpha", "centered"}),
        ),
    )  # fmt: skip
    optax = (
        OptaxRule(
            "rmsprop",
            "optax.rmsprop",
            {"learning_rate": None, "decay": 0.9, "eps": 1e-08, "eps_in_sqrt": True, "centered": False,
             "momentum": None, "nesterov": False, "bias_correction": False},
            (_PLAIN, _CENTRED, *_COUNTING),
        ),
    )  # fmt: skip
    functions = {
        "optax.rmsprop": _stock_state,
        "optax.scale_by_rms": lambda _: _PLAIN,
        "optax.scale_by_stddev": lambda _: _CENTRED,
    }
    names = {
        "lr": "learning_rate", "alpha": "decay", "eps": "eps", "centered": "centered", "momentum": "momentum",
        "weight_decay": "weight_decay",
    }  # fmt: skip

    def to_optax(self, part: Part) -> Part:
        known = self.in_optax(part)
        fixed = {"eps_in_sqrt": False, "nesterov": False, "bias_correction": False, "trace_is_scaled": False}
        more = {"centered": bool(known["centered"]), "momentum": known["momentum"] or None}
        return part.becoming("rmsprop", {**known, **more, **fixed})

    def to_torch(self, part: Part) -> Part:
        part = self.complete(part)
        check_momentum(part)
        known, slots = part.hyperparams, dict(part.slots)
        if known["eps_in_sqrt"]:
            refuse(
                "optax.rmsprop adds eps under the root by default, torch beside it: neither state continues the other",
                "Run optax.rmsprop(..., eps_in_sqrt=False) where a run is to cross, and say so in hyperparams.",
            )
        if known["nesterov"] or known["bias_correction"]:
            refuse(
                "optax.rmsprop was run with nesterov or bias_correction, which torch's RMSprop does not have",
                "Stay in optax, or run it without them where a run is to cross.",
            )
        if "trace" in slots and known.get("trace_is_scaled", True):
            if part.is_scheduled:
                refuse(
                    "optax.rmsprop keeps its momentum multiplied by the learning rates of their time, and they followed a schedule: torch's is of the updates alone",
                    "Run chain(scale_by_rms, trace, scale_by_learning_rate) where a run is to cross.",
                )
            rate = number_of(part, "learning_rate")
            slots["trace"] = changed(slots["trace"], lambda trace: trace / -rate)
        more = {"centered": bool(known["centered"]), "momentum": known["momentum"] or 0}
        return part.becoming("rmsprop", {**self.in_torch(part), **more}, slots)

    def complete(self, part: Part) -> Part:
        if part.slots:  # what the state keeps tells it
            part = replace(part, hyperparams={**part.hyperparams, "centered": "mu" in part.slots})
        return super().complete(part)

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        decay = decayed(hyperparams, mask)
        names = ("decay", "eps", "eps_in_sqrt")
        if not hyperparams.get("momentum") or hyperparams.get("trace_is_scaled", True):
            more = ("centered", "momentum")
            return chained(decay, stock("optax.rmsprop", hyperparams, "learning_rate", *names, *more))
        rule = "optax.scale_by_stddev" if hyperparams["centered"] else "optax.scale_by_rms"
        momentum = Call("optax.trace", (), {"decay": hyperparams["momentum"]})
        return chained(decay, stock(rule, hyperparams, *names), momentum, learning_rate(hyperparams))
