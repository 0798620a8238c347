"""SGD with momentum, Nesterov and dampening."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ckpt_core.optimizers.families.base import (
    Family,
    Part,
    complete_optax,
    decayed,
    learning_rate,
    refuse,
    stock,
    to_optax_part,
    to_torch_part,
    torch_settings,
)
from ckpt_core.optimizers.recipe import Call, chained

__all__ = ["Sgd"]


class Sgd(Family):
    """`torch.optim.SGD` and `optax.sgd`.

    Both: g = grad + weight_decay p; b = momentum b + (1 - dampening) g; u = g + momentum b (Nesterov) or b;
    p = p - lr u. Exact, `momentum_buffer` is `trace`. The L2 term is `add_decayed_weights` before the rule, the
    dampening `scale(1 - dampening)` before `trace`; torch's very first buffer is the undamped gradient, so that a
    damped run crosses after its first step.

    Sources: torch.optim.SGD's algorithm; `optax.trace`, `optax.sgd`.
    """

    torch_kinds: ClassVar[tuple[str, ...]] = ("sgd",)
    optax_kinds: ClassVar[tuple[str, ...]] = ("sgd",)

    def to_optax(self, part: Part) -> Part:
        known = torch_settings(part)
        momentum, dampening = known["momentum"], known["dampening"]
        if momentum and dampening and not part.slots.get("trace"):
            refuse(
                "torch's SGD with dampening leaves the very first gradient undamped, and the state is from before it",
                "Cross after the first step.",
            )
        more = {"dampening": dampening} if momentum and dampening else {}
        return to_optax_part(
            part,
            "sgd",
            learning_rate=known["lr"],
            momentum=momentum or None,
            nesterov=bool(momentum and known["nesterov"]),
            weight_decay=known["weight_decay"],
            **more,
        )

    def to_torch(self, part: Part) -> Part:
        part = complete_optax(part)
        known = part.hyperparams
        momentum = known["momentum"] or 0
        return to_torch_part(
            part,
            "sgd",
            part.slots if momentum else {},
            lr=known["learning_rate"],
            momentum=momentum,
            nesterov=bool(known["nesterov"]),
            dampening=known.get("dampening", 0),
            weight_decay=known.get("weight_decay", 0),
        )

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        decay = decayed(hyperparams, mask)
        if not hyperparams.get("dampening"):
            return chained(decay, stock("optax.sgd", hyperparams, "learning_rate", "momentum", "nesterov"))
        return chained(
            decay,
            Call("optax.scale", (1 - hyperparams["dampening"],)),
            Call("optax.trace", (), {"decay": hyperparams["momentum"]}),
            learning_rate(hyperparams),
        )
