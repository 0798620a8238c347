"""RMSprop: plain, centred, with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.optimizers.families.base import (
    Family,
    Part,
    complete_optax,
    decayed,
    learning_rate,
    number_of,
    refuse,
    stock,
    to_optax_part,
    to_torch_part,
    torch_settings,
)
from ckpt_core.optimizers.recipe import Call, chained

__all__ = ["Rmsprop"]


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

    torch_kinds: ClassVar[tuple[str, ...]] = ("rmsprop",)
    optax_kinds: ClassVar[tuple[str, ...]] = ("rmsprop",)

    def to_optax(self, part: Part) -> Part:
        known = torch_settings(part)
        return to_optax_part(
            part,
            "rmsprop",
            learning_rate=known["lr"],
            decay=known["alpha"],
            eps=known["eps"],
            eps_in_sqrt=False,
            centered=bool(known["centered"]),
            momentum=known["momentum"] or None,
            nesterov=False,
            bias_correction=False,
            trace_is_scaled=False,
            weight_decay=known["weight_decay"],
        )

    def to_torch(self, part: Part) -> Part:
        part = complete_optax(part)
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
            rate = number_of(part, "learning_rate")
            slots["trace"] = {name: _divided(array, -rate) for name, array in slots["trace"].items()}
        if not known["momentum"]:
            slots.pop("trace", None)
        return to_torch_part(
            part,
            "rmsprop",
            slots,
            lr=known["learning_rate"],
            alpha=known["decay"],
            eps=known["eps"],
            centered=bool(known["centered"]),
            momentum=known["momentum"] or 0,
            weight_decay=known.get("weight_decay", 0),
        )

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        decay = decayed(hyperparams, mask)
        names = ("decay", "eps", "eps_in_sqrt")
        if not hyperparams.get("momentum") or hyperparams.get("trace_is_scaled", True):
            more = ("centered", "momentum")
            return chained(decay, stock("optax.rmsprop", hyperparams, "learning_rate", *names, *more))
        rule = "optax.scale_by_stddev" if hyperparams["centered"] else "optax.scale_by_rms"
        momentum = Call("optax.trace", (), {"decay": hyperparams["momentum"]})
        return chained(decay, stock(rule, hyperparams, *names), momentum, learning_rate(hyperparams))


def _divided(array: LazyArray, by: float) -> LazyArray:
    values = array.read()
    return LazyArray.from_numpy(np.asarray(values / by, values.dtype))
