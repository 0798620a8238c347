"""The tree that a checkpoint of a training run is: of live objects, as its framework's own users arrange it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.aliases import moved_below
from ckpt_core.arrays import LazyArray
from ckpt_core.config.plain import plain_config
from ckpt_core.errors import UsageError
from ckpt_core.framework import Framework
from ckpt_core.live import tree_of
from ckpt_core.registry import registry
from ckpt_core.schema.plainly import as_plain

__all__ = ["Training", "framework_name", "training_tree"]

_MAX_LOOK: Final = 10_000
"""Objects of a tree that are looked at to find one that belongs to a framework."""


@dataclasses.dataclass(frozen=True)
class Training:
    """Everything that is saved of a run.

    Arguments:
        model: a live model, or a tree of its arrays.
        optimizer: a live optimizer or its state; or several by name.
        step, epoch, metrics, config, scheduler, scaler, rng, extra: as `save_checkpoint` takes them.
    """

    model: Any
    optimizer: Any = None
    step: int | None = None
    epoch: float | None = None
    metrics: Mapping[str, Any] | None = None
    config: Any = None
    scheduler: Any = None
    scaler: Any = None
    rng: Any = None
    extra: Mapping[str, Any] | None = None

    @property
    def is_model_alone(self) -> bool:
        """Whether nothing but the model is given."""
        return all(
            getattr(self, field.name) is None for field in dataclasses.fields(self) if field.name != "model"
        )


def training_tree(training: Training) -> Any:
    """Return the tree of a checkpoint: torch's dict of state dicts, or a Flax state beside its metadata.

    A model alone is its own weights, as the framework saves them; a tree alone is itself.

    torch: `epoch, step, model_state_dict, optimizer_state_dict, scheduler_state_dict, scaler, metrics, config, rng,
    timestamp`. Flax, and trees that are nested: `state` with `params`, other collections, `opt_state` and `step`;
    `metadata` with `epoch`, `metrics`, `config` and schedules; `timestamp`. Each loads with its framework's own
    functions.

    Raises:
        UsageError: it is a class, or has no values; or a scheduler is an object of no framework.
    """
    framework = _framework_of(training.model)
    if framework is not None and _is_live_model(training.model, framework):
        weights = framework.model_state(training.model)
    else:
        weights = tree_of(training.model)
    if training.is_model_alone:
        return weights
    optimizer = None if training.optimizer is None else _optimizer(framework, training.optimizer)
    shared = {
        "epoch": _number(training.epoch),
        "metrics": None if training.metrics is None else _plain_metrics(training.metrics),
        "config": None if training.config is None else plain_config(training.config),
    }
    states = {
        "scheduler": _state(training.scheduler, "scheduler"),
        "scaler": _state(training.scaler, "scaler"),
        "rng": None if training.rng is None else tree_of(training.rng),
    }
    extra = {} if training.extra is None else tree_of(dict(training.extra))
    if _is_torch(framework, weights):
        tree = {
            "epoch": shared["epoch"],
            "step": _number(training.step),
            "model_state_dict": weights,
            "optimizer_state_dict": optimizer,
            "scheduler_state_dict": states["scheduler"],
            "scaler": states["scaler"],
            "metrics": shared["metrics"],
            "config": shared["config"],
            "rng": states["rng"],
        }
        placed = {key: moved_below(value, (key,)) for key, value in _present(tree).items()}
        return {**placed, **extra, "timestamp": time.time()}
    state = _flax_state(weights, optimizer, training.step)
    return {
        "state": state,
        "metadata": _present(shared),
        **{key: moved_below(value, (key,)) for key, value in _present(states).items()},
        **extra,
        "timestamp": time.time(),
    }


def _flax_state(weights: Any, optimizer: Any, step: int | None) -> dict[str, Any]:
    """The state of a run: collections of variables or the fields of a TrainState, the optimizer, the step."""
    has_collections = isinstance(weights, Mapping) and "params" in weights
    if has_collections:
        state = dict(moved_below(weights, ("state",)))
    else:
        state = {"params": moved_below(weights, ("state", "params"))}
    if isinstance(optimizer, Mapping) and set(optimizer) == {"opt_state", "step"}:
        # An nnx.Optimizer counts itself.
        step = optimizer["step"] if step is None else step
        optimizer = moved_below(optimizer, ("state",))["opt_state"]
    elif optimizer is not None:
        optimizer = moved_below(optimizer, ("state", "opt_state"))
    if optimizer is not None:
        state["opt_state"] = optimizer
    if step is not None:
        state["step"] = _number(step)
    return state


def _plain_metrics(metrics: Mapping[str, Any]) -> Any:
    tree = tree_of(dict(metrics))
    return as_plain(tree, tree)


def _is_live_model(value: Any, framework: Framework) -> bool:
    """Whether a value is a live model of a framework or what it calls one's state: no array, and no plain tree."""
    if isinstance(value, (list, dict, LazyArray)):
        return False
    return framework.owns(value) and framework.spec(value) is None


def framework_name(value: Any) -> str:
    """Return the name of the framework of a live model or of a tree of arrays; "" for numpy."""
    framework = _framework_of(value)
    return "" if framework is None else framework.name


def _framework_of(value: Any) -> Framework | None:
    """The framework that a value belongs to, as a whole or by the first array in it that belongs to one."""
    stack, looked = [value], 0
    while stack and looked < _MAX_LOOK:
        item = stack.pop()
        looked += 1
        for _, framework in registry().frameworks:
            if framework.owns(item):
                return framework
        if isinstance(item, Mapping):
            stack.extend(reversed(list(item.values())))
        elif isinstance(item, (list, tuple)):
            stack.extend(reversed(item))
    return None


def _is_torch(framework: Framework | None, weights: Any) -> bool:
    """Whether names are torch's: by its framework, or, of numpy arrays, by a flat mapping of them."""
    if framework is not None:
        return framework.name == "torch"
    return (
        isinstance(weights, Mapping)
        and bool(weights)
        and all(isinstance(v, LazyArray) for v in weights.values())
    )


def _optimizer(framework: Framework | None, optimizer: Any) -> Any:
    if framework is None:
        return tree_of(optimizer)
    if isinstance(optimizer, dict):
        if optimizer and all(framework.owns(item) for item in optimizer.values()):
            return {name: framework.optimizer_state(item) for name, item in optimizer.items()}
        return tree_of(optimizer)
    if framework.name == "torch" and not framework.owns(optimizer):
        raise UsageError(
            f"a {type(optimizer).__name__} is no torch optimizer",
            remedy="Pass the optimizer, or its state_dict().",
        )
    return framework.optimizer_state(optimizer)


def _state(value: Any, name: str) -> Any:
    if value is None or isinstance(value, (Mapping, list, tuple)):
        return None if value is None else tree_of(value)
    for _, framework in registry().frameworks:
        if framework.owns(value):
            return framework.scheduler_state(value)
    raise UsageError(
        f"{name} is a {type(value).__name__}, and no state of one",
        remedy=f"Pass {name}={name}.state_dict().",
    )


def _number(value: Any) -> Any:
    """A counter as a Python number, also where a framework counts with arrays."""
    plain = as_plain(tree_of(value))
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain


def _present(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entries.items() if value is not None}
