"""Muon."""

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

__all__ = ["Muon"]


class Muon(Family):
    """`torch.optim.Muon` and `ckpt_flax.transforms.scale_by_torch_muon`, for matrices.

    torch: b = momentum b + (1 - momentum) g; u = NS((1 - momentum) g + momentum b) (Nesterov) or NS(b), NS the
    Newton-Schulz iteration in bfloat16; p = p - lr (weight_decay p + r u), r = sqrt(max(1, rows / columns)) of torch's
    (out, in) shape. The transformation does the same, with bfloat16's rounding emulated; the order of bfloat16 sums is
    not defined, so that runs agree to the last bit for some ten steps and then as far as bfloat16 does.
    A Flax kernel is (in, out): `transposed=True`. `optax.contrib.muon` corrects the momentum's bias and does NS in the
    gradient's own precision: another rule, near by (1e-2 after 100 steps); it is not translated.

    Sources: Jordan et al., "Muon" (2024); `torch.optim.Muon`, `optax.contrib.scale_by_muon`.
    """

    torch_kinds: ClassVar[tuple[str, ...]] = ("muon",)
    optax_kinds: ClassVar[tuple[str, ...]] = ("muon", "torch_muon")

    _names: ClassVar[tuple[str, ...]] = (
        *("momentum", "nesterov", "ns_coefficients", "eps", "ns_steps", "adjust_lr_fn"),
    )

    def to_optax(self, part: Part) -> Part:
        known = torch_settings(part)
        settings = {name: known[name] for name in (*self._names, "weight_decay")}
        return to_optax_part(part, "torch_muon", learning_rate=known["lr"], **settings)

    def to_torch(self, part: Part) -> Part:
        if part.kind == "muon":
            refuse(
                "optax.contrib.muon corrects the bias of its momentum and iterates in full precision, torch's Muon does neither",
                "Run ckpt_flax.transforms.scale_by_torch_muon in place of it where a run is to cross.",
            )
        part = complete_optax(part)
        known = part.hyperparams
        settings = {name: known[name] for name in (*self._names, "weight_decay")}
        settings["ns_coefficients"] = tuple(settings["ns_coefficients"])
        return to_torch_part(part, "muon", lr=known["learning_rate"], **settings)

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        if kind == "muon":
            refuse("an optax.contrib.muon is made by its own call alone", "Build it as the run did.")
        rule = stock("ckpt_flax.transforms.scale_by_torch_muon", hyperparams, *self._names, transposed=True)
        return chained(rule, decayed(hyperparams, mask), learning_rate(hyperparams))
