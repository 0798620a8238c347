"""Read an optimizer's state, as a torch state dict or an optax state, into neutral slots.

Files do not always say which rule wrote them: `kind` lists the candidates that the slots and the
hyperparameters allow, and is never narrowed by a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.layouts.values import is_optimizer, is_plain, number
from ckpt_core.tree import Alias, Index, Record, children

__all__ = ["OptimizerState", "read_optimizer"]


@dataclass(frozen=True)
class OptimizerState:
    """The state of one optimizer.

    Arguments:
        kind: the update rules that can have written it, by lower-case name; empty when unknown.
        hyperparams: those of the first group.
        step: the number of updates made, or None where it is not said.
        slots: per-parameter quantities under neutral names (`mu`, `nu`, `trace`, ...); torch's are keyed by
            the position of the parameter, optax's are trees parallel to the parameters.
        groups: the hyperparameters of each group, with the positions of its parameters under `params`.
        schedule: what a learning-rate schedule keeps, where it is part of the state.
        native: the state exactly as it was saved.
    """

    kind: tuple[str, ...]
    hyperparams: Mapping[str, Any]
    step: int | None
    slots: Mapping[str, Any]
    groups: tuple[Mapping[str, Any], ...] = ()
    schedule: Any = None
    native: Any = field(default=None, repr=False)


_TORCH_SLOTS: Final = {
    "exp_avg": "mu",
    "exp_avg_sq": "nu",
    "max_exp_avg_sq": "nu_max",
    "exp_inf": "nu",
    "momentum_buffer": "trace",
    "square_avg": "nu",
    "grad_avg": "mu",
    "sum": "sum_of_squares",
    "acc_delta": "e_x",
}
_TORCH_KINDS: Final = (
    ({"mu_product", "exp_avg"}, ("nadam",)),
    ({"exp_inf"}, ("adamax",)),
    ({"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}, ("adam", "adamw")),
    ({"exp_avg", "exp_avg_sq"}, ("adam", "adamw", "radam", "lamb")),
    ({"exp_avg"}, ("lion",)),
    ({"square_avg", "acc_delta"}, ("adadelta",)),
    ({"square_avg"}, ("rmsprop",)),
    ({"sum"}, ("adagrad",)),
    ({"row_var"}, ("adafactor",)),
    ({"prev", "step_size"}, ("rprop",)),
    ({"ax", "eta"}, ("asgd",)),
    ({"momentum_buffer"}, ("sgd", "muon")),
)
_TORCH_MARKS: Final = (
    ({"betas", "amsgrad"}, ("adam", "adamw")),
    ({"betas", "momentum_decay"}, ("nadam",)),
    ({"momentum", "nesterov"}, ("sgd", "muon")),
    ({"alpha", "centered"}, ("rmsprop",)),
    ({"rho", "eps", "lr"}, ("adadelta",)),
    ({"lr_decay", "initial_accumulator_value"}, ("adagrad",)),
    ({"etas", "step_sizes"}, ("rprop",)),
    ({"lambd", "t0"}, ("asgd",)),
)
_OPTAX_KINDS: Final = (
    ({"mu", "nu", "nu_max"}, ("amsgrad",)),
    (
        {"mu", "nu"},
        ("adam", "adamw", "nadam", "nadamw", "radam", "adamax", "adamaxw", "yogi", "adabelief", "lamb"),
    ),
    ({"trace"}, ("sgd",)),
    ({"sum_of_squares"}, ("adagrad",)),
    ({"e_g", "e_x"}, ("adadelta",)),
    ({"v_row", "v_col"}, ("adafactor",)),
    ({"step_sizes", "prev_updates"}, ("rprop",)),
    ({"nu"}, ("rmsprop",)),
    ({"mu"}, ("lion",)),
)
_OPTAX_SLOTS: Final = frozenset(
    [
        "mu",
        "nu",
        "nu_max",
        "trace",
        "sum_of_squares",
        "e_g",
        "e_x",
        "v_row",
        "v_col",
        "v",
        "step_sizes",
        "prev_updates",
    ]
)


def read_optimizer(native: Any) -> OptimizerState:
    """Return the neutral state of a torch optimizer's state dict or an optax state."""
    return _from_torch(native) if is_optimizer(native) else _from_optax(native)


# torch


def _from_torch(native: Mapping[str, Any]) -> OptimizerState:
    state = native["state"] if isinstance(native["state"], Mapping) else {}
    groups = tuple(dict(group) for group in native["param_groups"] if isinstance(group, Mapping))
    slots: dict[str, dict[Any, Any]] = {}
    names: set[str] = set()
    step = None
    for parameter, entry in state.items():
        if not isinstance(entry, Mapping):
            continue
        for name, value in entry.items():
            if name == "step":
                step = step if step is not None else _count(value)
                continue
            if value is not None:
                names.add(str(name))
                slots.setdefault(_TORCH_SLOTS.get(str(name), str(name)), {})[parameter] = value
    hyperparams = {key: value for key, value in groups[0].items() if key != "params"} if groups else {}
    return OptimizerState(_torch_kind(names, hyperparams), hyperparams, step, slots, groups, None, native)


def _torch_kind(names: set[str], hyperparams: Mapping[str, Any]) -> tuple[str, ...]:
    for slots, kinds in _TORCH_KINDS:
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
    return kinds


# optax


def _from_optax(native: Any) -> OptimizerState:
    slots: dict[str, Any] = {}
    counts: list[int] = []
    hyperparams: dict[str, Any] = {}
    schedule = None
    stack, looked = [native], 0
    while stack and looked < 100_000:
        node = stack.pop()
        looked += 1
        if isinstance(node, (LazyArray, Alias)):
            continue
        if isinstance(node, Mapping):
            schedule = _take_fields(node, slots, counts, hyperparams, schedule)
            if any(name in node for name in _OPTAX_SLOTS):
                continue
        stack.extend(child for _, child in reversed(children(node) or []))
    names = set(slots)
    kind = next((kinds for required, kinds in _OPTAX_KINDS if required <= names), ())
    return OptimizerState(kind, hyperparams, max(counts, default=None), slots, (), schedule, native)


def _take_fields(
    node: Mapping[Any, Any],
    slots: dict[str, Any],
    counts: list[int],
    hyperparams: dict[str, Any],
    schedule: Any,
) -> Any:
    for name in _OPTAX_SLOTS & set(node):
        slots.setdefault(name, node[name])
    count = _count(node.get("count"))
    if count is not None:
        counts.append(count)
        if set(node) == {"count"}:
            schedule = schedule if schedule is not None else {"count": count}
    found = node.get("hyperparams")
    if isinstance(found, Mapping) and is_plain(found):
        hyperparams.update({key: number(value) for key, value in found.items()})
    return schedule


def _count(value: Any) -> int | None:
    if isinstance(value, Mapping) and set(value) == {"value"}:  # an NNX variable
        value = value["value"]
    if isinstance(value, LazyArray) and value.size >= 1 and value.ndim <= 1:
        value = value[:1].reshape(-1)[0] if value.ndim else value.item()
    if isinstance(value, (Sequence, Record, Index)):
        return None
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None
