"""Adagrad."""

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
    stock,
    to_optax_part,
    to_torch_part,
    torch_settings,
)
from ckpt_core.optimizers.recipe import Call, chained

__all__ = ["Adagrad"]


class Adagrad(Family):
    """`torch.optim.Adagrad` and `ckpt_flax.transforms.scale_by_torch_adagrad`; `optax.adagrad` and `Adagrad(eps=0)`.

    torch: s = s + g^2; u = g / (sqrt(s) + eps) / (1 + (t - 1) lr_decay). The transformation does the same, exactly.
    optax: u = g / sqrt(s + e). With s' = s + e that is torch's rule with eps = 0: exact, `sum` is
    `sum_of_squares` + e, up to the rounding of that sum. Against another eps `optax.adagrad` is another rule.

    Sources: Duchi, Hazan and Singer (2011); `torch.optim.Adagrad`, `optax.scale_by_rss`.
    """

    torch_kinds: ClassVar[tuple[str, ...]] = ("adagrad",)
    optax_kinds: ClassVar[tuple[str, ...]] = ("adagrad", "torch_adagrad")

    def to_optax(self, part: Part) -> Part:
        known = torch_settings(part)
        return to_optax_part(
            part,
            "torch_adagrad",
            learning_rate=known["lr"],
            lr_decay=known["lr_decay"],
            eps=known["eps"],
            initial_accumulator_value=known["initial_accumulator_value"],
            weight_decay=known["weight_decay"],
        )

    def to_torch(self, part: Part) -> Part:
        part = complete_optax(part)
        known, slots = part.hyperparams, dict(part.slots)
        if part.kind == "adagrad":
            sums = slots.get("sum_of_squares", {})
            slots["sum_of_squares"] = {name: _raised(array, known["eps"]) for name, array in sums.items()}
            eps, decay, initial = 0.0, 0, 0
        else:
            eps, decay, initial = known["eps"], known["lr_decay"], known["initial_accumulator_value"]
        return to_torch_part(
            part,
            "adagrad",
            slots,
            lr=known["learning_rate"],
            lr_decay=decay,
            eps=eps,
            initial_accumulator_value=initial,
            weight_decay=known.get("weight_decay", 0),
        )

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        decay = decayed(hyperparams, mask)
        if kind == "adagrad":
            return chained(decay, stock("optax.adagrad", hyperparams, "learning_rate", "eps"))
        names = ("eps", "lr_decay", "initial_accumulator_value")
        rule = stock("ckpt_flax.transforms.scale_by_torch_adagrad", hyperparams, *names)
        return chained(decay, rule, learning_rate(hyperparams))


def _raised(array: LazyArray, by: float) -> LazyArray:
    values = array.read()
    return LazyArray.from_numpy(np.asarray(values + by, values.dtype))
