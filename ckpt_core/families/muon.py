"""Muon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_core.families.base import Family, Part, refuse
from ckpt_core.families.building import around, stock
from ckpt_core.families.pieces import ours
from ckpt_core.families.recipe import Call
from ckpt_core.families.rules import Keeps, OptaxRule, TorchRule

__all__ = ["Muon"]

_STATE = ours("muon", "ScaleByTorchMuonState", "momentum", momentum="trace")
_SETTINGS = ("momentum", "nesterov", "ns_coefficients", "eps", "ns_steps", "adjust_lr_fn")
_DEFAULTS = {
    "momentum": 0.95, "nesterov": True, "ns_coefficients": (3.4445, -4.775, 2.0315), "eps": 1e-07, "ns_steps": 5,
    "adjust_lr_fn": None,
}  # fmt: skip


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

    torch = (
        TorchRule(
            "muon",
            "torch.optim.Muon",
            {"momentum_buffer": "trace"},
            {"lr": 0.001, "weight_decay": 0.1, **_DEFAULTS},
            marks=frozenset({"ns_steps", "momentum"}),
            has_step=False,
        ),
    )
    optax = (
        OptaxRule(
            "muon",
            "optax.contrib.muon",
            {"learning_rate": None},
            (
                Keeps(
                    "optax.contrib._muon.MuonState",
                    ("count", "mu", "ns_coeffs"),
                    {},
                    frozenset({"ns_coeffs"}),
                ),
            ),
        ),
        OptaxRule(
            "torch_muon",
            "ckpt_flax.transforms.scale_by_torch_muon",
            {"learning_rate": None, "weight_decay": 0.1, **_DEFAULTS},
            (_STATE,),
        ),
    )
    functions = {"ckpt_flax.transforms.scale_by_torch_muon": lambda _: _STATE}
    names = {"lr": "learning_rate", "weight_decay": "weight_decay", **{name: name for name in _SETTINGS}}
    is_per_tensor = True

    def to_optax(self, part: Part) -> Part:
        return part.becoming("torch_muon", self.in_optax(part))

    def to_torch(self, part: Part) -> Part:
        if part.kind == "muon":
            refuse(
                "optax.contrib.muon corrects the bias of its momentum and iterates in full precision, torch's Muon does neither",
                "Run ckpt_flax.transforms.scale_by_torch_muon in place of it where a run is to cross.",
            )
        part = self.complete(part)
        return part.becoming("muon", self.in_torch(part))

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        if kind == "muon":
            refuse("an optax.contrib.muon is made by its own call alone", "Build it as the run did.")
        rule = stock("ckpt_flax.transforms.scale_by_torch_muon", hyperparams, *_SETTINGS, transposed=True)
        return around(rule, {**hyperparams, "decoupled": True}, mask)
