"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.errors import UsageError
from ckpt_core.families.base import Family, Part, check_eps_root
from ckpt_core.families.building import decayed, masked, stock
from ckpt_core.families.pieces import ADAM, chain, decay, rate
from ckpt_core.families.recipe import Call, chained
from ckpt_core.families.rules import OptaxRule, TorchRule

__all__ = ["ADAM_NAMES", "ADAM_SLOTS", "ADAM_STOCK", "TORCH_ADAM", "Adam"]

ADAM_SLOTS: Final = {"exp_avg": "mu", "exp_avg_sq": "nu"}
ADAM_NAMES: Final[Mapping[str, str | tuple[str, ...]]] = {
    "lr": "learning_rate",
    "betas": ("b1", "b2"),
    "eps": "eps",
    "weight_decay": "weight_decay",
}
ADAM_STOCK: Final = {"learning_rate": None, "b1": 0.9, "b2": 0.999, "eps": 1e-08, "eps_root": 0.0}
"""What `optax.adam` takes, as those of its relatives that have the same arguments."""

TORCH_ADAM: Final = {
    "lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-08, "weight_decay": 0, "amsgrad": False, "maximize": False,
    "foreach": None, "capturable": False, "differentiable": False, "fused": None, "decoupled_weight_decay": False,
}  # fmt: skip
"""What a group of `torch.optim.Adam` holds."""


class Adam(Family):
    """`torch.optim.Adam`, `torch.optim.AdamW` and `optax.adam`, `optax.adamw`.

    Both: m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; u = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps);
    p = p - lr u. Exact, `exp_avg` is `mu`, `exp_avg_sq` is `nu`, `step` is `count`. Adam's weight decay is an L2 term:
    `add_decayed_weights` before the rule. AdamW's is decoupled: p = p - lr (u + weight_decay p), in optax as in torch,
    where the factor 1 - lr weight_decay is applied first. optax's `eps_root` must be 0: torch has no epsilon under
    the root.

    Sources: Kingma and Ba, arXiv:1412.6980; Loshchilov and Hutter, arXiv:1711.05101; `torch.optim.Adam`,
    `optax.scale_by_adam`.
    """

    torch = tuple(
        TorchRule(
            kind,
            function,
            {**ADAM_SLOTS, "max_exp_avg_sq": "nu_max"},
            defaults,
            optional=frozenset({"max_exp_avg_sq"}),  # where a group besides this one is amsgrad's
            marks=frozenset({"betas", "amsgrad"}),
            flags={"amsgrad": False, "decoupled_weight_decay": kind == "adamw"},
            hidden=frozenset({"decoupled_weight_decay"} if kind == "adamw" else ()),
        )
        for kind, function, defaults in (
            ("adam", "torch.optim.Adam", TORCH_ADAM),
            (
                "adamw",
                "torch.optim.AdamW",
                {**TORCH_ADAM, "weight_decay": 0.01, "decoupled_weight_decay": True},
            ),
        )
    )
    optax = (
        OptaxRule("adam", "optax.adam", {**ADAM_STOCK, "nesterov": False}, (ADAM,)),
        OptaxRule("adamw", "optax.adamw", {**ADAM_STOCK, "weight_decay": 0.0001, "nesterov": False}, (ADAM,)),
    )
    functions = {"optax.adam": chain(ADAM, rate), "optax.adamw": chain(ADAM, decay, rate)}
    names = ADAM_NAMES

    def to_optax(self, part: Part) -> Part:
        decoupled = self.torch_settings(part)["decoupled_weight_decay"]
        same = {**self.in_optax(part), "eps_root": 0.0, "nesterov": False}
        return part.becoming("adamw" if decoupled else "adam", same)

    def to_torch(self, part: Part) -> Part:
        part = self.complete(part)
        check_eps_root(part)
        if part.hyperparams["nesterov"]:
            nadam = part.kind.replace("adam", "nadam")
            raise UsageError(
                f"optax's {part.kind} with nesterov is {nadam}", remedy=f"Name that rule: kind={nadam!r}."
            )
        return part.becoming(part.kind, self.in_torch(part))

    def optax_recipe(self, kind: str, hyperparams: Mapping[str, Any], mask: Call | None = None) -> Call:
        names = ("learning_rate", "b1", "b2", "eps")
        if kind == "adam":
            return chained(decayed(hyperparams, mask), stock("optax.adam", hyperparams, *names))
        return stock("optax.adamw", hyperparams, *names, "weight_decay", **masked(mask))
