"""Adafactor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ckpt_core.optimizers.families.base import (
    Family,
    Part,
    complete_optax,
    refuse,
    stock,
    to_optax_part,
    to_torch_part,
    torch_settings,
)
from ckpt_core.optimizers.recipe import Call

__all__ = ["Adafactor"]


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

    torch_kinds: ClassVar[tuple[str, ...]] = ("adafactor",)
    optax_kinds: ClassVar[tuple[str, ...]] = ("adafactor", "torch_adafactor")

    takes_mask: ClassVar[bool] = False
    _names: ClassVar[tuple[str, ...]] = ("beta2_decay", "eps", "d", "weight_decay")

    def to_optax(self, part: Part) -> Part:
        known = torch_settings(part)
        settings = {name: known[name] for name in self._names}
        return to_optax_part(part, "torch_adafactor", learning_rate=known["lr"], **settings)

    def to_torch(self, part: Part) -> Part:
        if part.kind == "adafactor":
            refuse(
                "optax.adafactor factors other dimensions than torch's Adafactor and places its epsilons elsewhere: neither state continues the other",
                "Run ckpt_flax.transforms.torch_adafactor in place of it where a run is to cross.",
            )
        part = complete_optax(part)
        known = part.hyperparams
        settings = {name: known[name] for name in self._names}
        settings["eps"] = tuple(settings["eps"])
        return to_torch_part(part, "adafactor", lr=known["learning_rate"], **settings)

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        if kind == "adafactor":
            refuse("an optax.adafactor is made by its own call alone", "Build it as the run did.")
        return stock("ckpt_flax.transforms.torch_adafactor", hyperparams, "learning_rate", *self._names)
