"""What torch's classes and optax's functions take, by rule; a test compares the tables with both libraries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["OPTAX", "TORCH", "Rule"]


@dataclass(frozen=True)
class Rule:
    """A rule's constructor.

    Arguments:
        function: the dotted name of the class or function.
        defaults: what a torch group holds, or an optax function takes, where nothing else is said.
        hidden: keys of a torch group that the constructor does not take.
    """

    function: str
    defaults: Mapping[str, Any]
    hidden: frozenset[str] = frozenset()


_ADAM: Final = {
    "lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-08, "weight_decay": 0, "amsgrad": False, "maximize": False,
    "foreach": None, "capturable": False, "differentiable": False, "fused": None, "decoupled_weight_decay": False,
}  # fmt: skip

TORCH: Final[Mapping[str, Rule]] = {
    "sgd": Rule(
        "torch.optim.SGD",
        {"lr": 0.001, "momentum": 0, "dampening": 0, "weight_decay": 0, "nesterov": False, "maximize": False,
         "foreach": None, "differentiable": False, "fused": None},
    ),
    "adam": Rule("torch.optim.Adam", _ADAM),
    "adamw": Rule(
        "torch.optim.AdamW",
        {**_ADAM, "weight_decay": 0.01, "decoupled_weight_decay": True},
        frozenset({"decoupled_weight_decay"}),
    ),
    "nadam": Rule(
        "torch.optim.NAdam",
        {"lr": 0.002, "betas": (0.9, 0.999), "eps": 1e-08, "weight_decay": 0, "momentum_decay": 0.004,
         "decoupled_weight_decay": False, "maximize": False, "foreach": None, "capturable": False,
         "differentiable": False},
    ),
    "radam": Rule(
        "torch.optim.RAdam",
        {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-08, "weight_decay": 0, "maximize": False, "foreach": None,
         "capturable": False, "decoupled_weight_decay": False, "differentiable": False},
    ),
    "adamax": Rule(
        "torch.optim.Adamax",
        {"lr": 0.002, "betas": (0.9, 0.999), "eps": 1e-08, "weight_decay": 0, "foreach": None, "maximize": False,
         "differentiable": False, "capturable": False},
    ),
    "rmsprop": Rule(
        "torch.optim.RMSprop",
        {"lr": 0.01, "momentum": 0, "alpha": 0.99, "eps": 1e-08, "centered": False, "weight_decay": 0,
         "capturable": False, "foreach": None, "maximize": False, "differentiable": False},
    ),
    "adagrad": Rule(
        "torch.optim.Adagrad",
        {"lr": 0.01, "lr_decay": 0, "eps": 1e-10, "weight_decay": 0, "initial_accumulator_value": 0,
         "foreach": None, "maximize": False, "differentiable": False, "fused": None},
    ),
    "adadelta": Rule(
        "torch.optim.Adadelta",
        {"lr": 1.0, "rho": 0.9, "eps": 1e-06, "weight_decay": 0, "maximize": False, "capturable": False,
         "foreach": None, "differentiable": False},
    ),
    "adafactor": Rule(
        "torch.optim.Adafactor",
        {"lr": 0.01, "beta2_decay": -0.8, "eps": (None, 0.001), "d": 1.0, "weight_decay": 0.0, "foreach": None,
         "maximize": False},
    ),
    "rprop": Rule(
        "torch.optim.Rprop",
        {"lr": 0.01, "etas": (0.5, 1.2), "step_sizes": (1e-06, 50), "foreach": None, "maximize": False,
         "differentiable": False, "capturable": False},
    ),
    "lion": Rule("ckpt_torch.optim.Lion", {"lr": 0.0001, "betas": (0.9, 0.99), "weight_decay": 0.0}),
    "muon": Rule(
        "torch.optim.Muon",
        {"lr": 0.001, "weight_decay": 0.1, "momentum": 0.95, "nesterov": True,
         "ns_coefficients": (3.4445, -4.775, 2.0315), "eps": 1e-07, "ns_steps": 5, "adjust_lr_fn": None},
    ),
}  # fmt: skip

_OPTAX_ADAM: Final = {"learning_rate": None, "b1": 0.9, "b2": 0.999, "eps": 1e-08, "eps_root": 0.0}

OPTAX: Final[Mapping[str, Rule]] = {
    "sgd": Rule("optax.sgd", {"learning_rate": None, "momentum": None, "nesterov": False}),
    "adam": Rule("optax.adam", _OPTAX_ADAM),
    "adamw": Rule("optax.adamw", {**_OPTAX_ADAM, "weight_decay": 0.0001}),
    "nadam": Rule("optax.nadam", _OPTAX_ADAM),
    "nadamw": Rule("optax.nadamw", {**_OPTAX_ADAM, "weight_decay": 0.0001}),
    "amsgrad": Rule("optax.amsgrad", _OPTAX_ADAM),
    "radam": Rule("optax.radam", {**_OPTAX_ADAM, "threshold": 5.0, "nesterov": False}),
    "adamax": Rule("optax.adamax", {"learning_rate": None, "b1": 0.9, "b2": 0.999, "eps": 1e-08}),
    "adamaxw": Rule(
        "optax.adamaxw", {"learning_rate": None, "b1": 0.9, "b2": 0.999, "eps": 1e-08, "weight_decay": 0.0001}
    ),
    "rmsprop": Rule(
        "optax.rmsprop",
        {"learning_rate": None, "decay": 0.9, "eps": 1e-08, "eps_in_sqrt": True, "centered": False,
         "momentum": None, "nesterov": False, "bias_correction": False},
    ),
    "adagrad": Rule("optax.adagrad", {"learning_rate": None, "eps": 1e-07}),
    "adadelta": Rule("optax.adadelta", {"learning_rate": None, "rho": 0.9, "eps": 1e-06, "weight_decay": 0.0}),
    "adafactor": Rule("optax.adafactor", {"learning_rate": None}),
    "rprop": Rule(
        "optax.rprop",
        {"learning_rate": None, "eta_minus": 0.5, "eta_plus": 1.2, "min_step_size": 1e-06, "max_step_size": 50.0},
    ),
    "lion": Rule("optax.lion", {"learning_rate": None, "b1": 0.9, "b2": 0.99, "weight_decay": 0.001}),
    "muon": Rule("optax.contrib.muon", {"learning_rate": None}),
    "torch_amsgrad": Rule(
        "ckpt_flax.transforms.scale_by_torch_amsgrad", {"learning_rate": None, "b1": 0.9, "b2": 0.999, "eps": 1e-08}
    ),
    "torch_nadam": Rule(
        "ckpt_flax.transforms.scale_by_torch_nadam",
        {"learning_rate": None, "b1": 0.9, "b2": 0.999, "eps": 1e-08, "momentum_decay": 0.004},
    ),
    "torch_radam": Rule(
        "ckpt_flax.transforms.scale_by_torch_radam", {"learning_rate": None, "b1": 0.9, "b2": 0.999, "eps": 1e-08}
    ),
    "torch_adagrad": Rule(
        "ckpt_flax.transforms.scale_by_torch_adagrad",
        {"learning_rate": None, "lr_decay": 0.0, "eps": 1e-10, "initial_accumulator_value": 0.0},
    ),
    "torch_rprop": Rule(
        "ckpt_flax.transforms.scale_by_torch_rprop",
        {"learning_rate": None, "eta_minus": 0.5, "eta_plus": 1.2, "min_step_size": 1e-06, "max_step_size": 50.0},
    ),
    "torch_adafactor": Rule(
        "ckpt_flax.transforms.torch_adafactor",
        {"learning_rate": None, "beta2_decay": -0.8, "eps": (None, 0.001), "d": 1.0, "weight_decay": 0.0},
    ),
    "torch_muon": Rule(
        "ckpt_flax.transforms.scale_by_torch_muon",
        {"learning_rate": None, "weight_decay": 0.1, "momentum": 0.95, "nesterov": True,
         "ns_coefficients": (3.4445, -4.775, 2.0315), "eps": 1e-07, "ns_steps": 5, "adjust_lr_fn": None},
    ),
}  # fmt: skip
