"""Which update rules can have written a state: tables of what each keeps.

The names are the lower-case names of torch's classes and of optax's functions. `torch_...` are the transformations
of `ckpt_flax.transforms`, which keep an optax state and update as torch does.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

__all__ = ["OPTAX_STATES", "TORCH_SLOTS", "named_in", "optax_kinds", "torch_kinds"]

TORCH_SLOTS: Final[Mapping[str, str]] = {
    "exp_avg": "mu",
    "exp_avg_sq": "nu",
    "max_exp_avg_sq": "nu_max",
    "exp_inf": "nu",
    "momentum_buffer": "trace",
    "square_avg": "nu",
    "grad_avg": "mu",
    "sum": "sum_of_squares",
    "acc_delta": "e_x",
    "row_var": "v_row",
    "col_var": "v_col",
    "variance": "v",
    "step_size": "step_sizes",
    "prev": "prev_grads",
    "mu": "averaging_weight",
}
"""Neutral names of what torch keeps for a parameter. `mu` is ASGD's weight of the average, no moment."""

_TORCH: Final[tuple[tuple[set[str], tuple[str, ...]], ...]] = (
    ({"mu_product", "exp_avg"}, ("nadam",)),
    ({"exp_inf"}, ("adamax",)),
    ({"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}, ("adam", "adamw")),
    ({"exp_avg", "exp_avg_sq"}, ("adam", "adamw", "radam", "lamb")),
    ({"exp_avg"}, ("lion",)),
    ({"square_avg", "acc_delta"}, ("adadelta",)),
    ({"square_avg"}, ("rmsprop",)),
    ({"sum"}, ("adagrad",)),
    ({"row_var"}, ("adafactor",)),
    ({"variance"}, ("adafactor",)),
    ({"prev", "step_size"}, ("rprop",)),
    ({"ax", "eta"}, ("asgd",)),
    ({"old_dirs", "old_stps"}, ("lbfgs",)),
    ({"momentum_buffer"}, ("sgd", "muon")),
)
_TORCH_MARKS: Final[tuple[tuple[set[str], tuple[str, ...]], ...]] = (
    ({"betas", "amsgrad"}, ("adam", "adamw")),
    ({"betas", "momentum_decay"}, ("nadam",)),
    ({"ns_steps", "momentum"}, ("muon",)),
    ({"momentum", "nesterov"}, ("sgd", "muon")),
    ({"alpha", "centered"}, ("rmsprop",)),
    ({"beta2_decay", "d"}, ("adafactor",)),
    ({"lr_decay", "initial_accumulator_value"}, ("adagrad",)),
    ({"etas", "step_sizes"}, ("rprop",)),
    ({"lambd", "t0"}, ("asgd",)),
    ({"history_size", "max_iter"}, ("lbfgs",)),
    ({"rho", "eps", "lr"}, ("adadelta",)),
)

_ADAM_LIKE: Final = (
    *("adam", "adamw", "nadam", "nadamw", "radam", "adamax", "adamaxw", "yogi", "adabelief", "lamb"),
    "torch_radam",
)
OPTAX_STATES: Final[tuple[tuple[frozenset[str], tuple[str, ...]], ...]] = tuple(
    (frozenset(fields.split()), kinds)
    for fields, kinds in (
        ("count mu nu nu_max", ("amsgrad",)),
        ("count mu nu max_nu", ("torch_amsgrad",)),
        ("count mu nu mu_product", ("torch_nadam",)),
        ("count mu ns_coeffs", ("muon",)),
        ("count mu nu", _ADAM_LIKE),
        ("count mu", ("lion",)),
        ("mu nu", ("rmsprop",)),
        ("nu", ("rmsprop",)),
        ("count nu", ("rmsprop",)),
        ("trace", ("sgd",)),
        ("momentum", ("torch_muon",)),
        ("sum_of_squares", ("adagrad",)),
        ("count sum_of_squares", ("torch_adagrad",)),
        ("e_g e_x", ("adadelta",)),
        ("count v_row v_col v", ("adafactor",)),
        ("count row_var col_var variance", ("torch_adafactor",)),
        ("step_sizes prev_updates", ("rprop",)),
        ("step_sizes prev_grads", ("torch_rprop",)),
    )
)
"""The fields of an optax state that keeps something for each parameter, and which rules keep just these."""

_CLASSES: Final = {"ScaleByBeliefState": ("adabelief",), "ScaleByNovogradState": ("novograd",)}
"""Where a pickle names a class that says more than its fields."""

_CONFIG_KEYS: Final = ("optimizer", "optim", "opt", "optimizer_name", "optimizer_type", "optimizer_class")


def torch_kinds(names: AbstractSet[str], hyperparams: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the rules that keep these torch slots under these hyperparameters."""
    for slots, kinds in _TORCH:
        if slots <= names:
            return _narrowed(kinds, hyperparams)
    if names:
        return ()
    for marks, kinds in _TORCH_MARKS:  # before the first step there are no slots yet
        if marks <= hyperparams.keys():
            return _narrowed(kinds, hyperparams)
    return ()


def _narrowed(kinds: tuple[str, ...], hyperparams: Mapping[str, Any]) -> tuple[str, ...]:
    """Drop the candidates that the hyperparameters rule out."""
    if "ns_steps" in hyperparams or "ns_coefficients" in hyperparams:
        return tuple(kind for kind in kinds if kind == "muon")
    if "dampening" in hyperparams:
        return tuple(kind for kind in kinds if kind == "sgd")
    decoupled = hyperparams.get("decoupled_weight_decay")
    if "amsgrad" in hyperparams and "adam" in kinds:
        if decoupled is True:
            return ("adamw",)
        return ("adam",) if decoupled is False else ("adam", "adamw")
    if (
        decoupled is not None and "radam" in kinds
    ):  # of these only torch's own RAdam has the flag without amsgrad
        return ("radam",)
    return kinds


def optax_kinds(states: list[tuple[frozenset[str], str]]) -> tuple[str, ...]:
    """Return the rules that keep optax states with these fields, saved under these class names (or "")."""
    known = dict(OPTAX_STATES)
    kinds = [_CLASSES.get(name.rsplit(".", 1)[-1], known[fields]) for fields, name in states]
    main = [
        kind for kind in kinds if kind != ("sgd",)
    ] or kinds  # a trace beside another rule is its momentum
    if {"muon", "adam"} <= {kind for candidates in main for kind in candidates} and ("muon",) in main:
        return ("muon",)  # optax.contrib.muon leaves what is no matrix to adam
    return main[0] if main and all(kind == main[0] for kind in main) else ()


def named_in(config: Mapping[str, Any], kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Return the candidate that a saved config names, or all of them where it names none."""
    for key in _CONFIG_KEYS:
        value = config.get(key)
        if isinstance(value, Mapping):
            value = value.get("name", value.get("type"))
        if isinstance(value, str):
            name = value.rsplit(".", 1)[-1].lower().replace("_", "")
            found = tuple(kind for kind in kinds if kind.replace("_", "") == name)
            if found:
                return found
    return kinds
