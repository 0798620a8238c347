"""The tree that a carried run is written as: of each framework, as its own users arrange it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_core.layouts.values import number
from ckpt_core.optimizers.schedules import schedule_of, scheduler_state, separate
from ckpt_core.schema import Checkpoint
from ckpt_core.transfer.optimizer import Carried
from ckpt_core.tree import Record

__all__ = ["flax_tree", "torch_tree"]


def torch_tree(ckpt: Checkpoint, tree: Any, carried: Carried, averaged: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dict of state dicts, as torch programs write it.

    Arguments:
        ckpt: the source, for what is kept as it is.
        tree: the filled state dict.
        carried: the optimizer.
        averaged: other copies of the weights, by name.
    """
    made = {
        "epoch": ckpt.epoch,
        "step": carried.state.step if ckpt.step is None else ckpt.step,
        "model_state_dict": tree,
        "optimizer_state_dict": carried.state.native,
        **_torch_schedulers(ckpt, carried),
        **{_copy_name(name): copy for name, copy in averaged.items()},
        "scaler": _torch_scaler(ckpt.scaler),
        "metrics": dict(ckpt.metrics) or None,
        "config": dict(ckpt.config) or None,
        "rng": dict(ckpt.rng) or None,
    }
    return {key: value for key, value in made.items() if value is not None}


def flax_tree(ckpt: Checkpoint, tree: Any, carried: Carried, averaged: Mapping[str, Any]) -> Any:
    """Return a state beside its metadata, or the TrainState that was filled; arguments as for `torch_tree`."""
    step = carried.state.step if ckpt.step is None else ckpt.step
    if isinstance(tree, Record) and "opt_state" in tree:
        counted = {"step": step} if "step" in tree and step is not None else {}
        return Record(tree.type_name, {**tree, **counted, "opt_state": carried.state.native})
    native = carried.state.native
    if isinstance(native, Mapping) and set(native) == {"opt_state", "step"}:  # an nnx.Optimizer counts itself
        native = native["opt_state"]
    collections = tree if isinstance(tree, Mapping) and "params" in tree else {"params": tree}
    state = {**collections, "opt_state": native, "step": step or 0}
    metadata = {
        "epoch": ckpt.epoch,
        "metrics": dict(ckpt.metrics) or None,
        "config": dict(ckpt.config) or None,
    }
    made = {
        "state": state,
        "metadata": {key: value for key, value in metadata.items() if value is not None},
        **{_copy_name(name): copy for name, copy in averaged.items()},
        "scaler": _flax_scaler(ckpt.scaler),
        "rng": dict(ckpt.rng) or None,
    }
    return {key: value for key, value in made.items() if value is not None and value != {}}


def _torch_schedulers(ckpt: Checkpoint, carried: Carried) -> dict[str, Any]:
    """The schedulers that the run was saved with, while they stand where it stands; else a position alone."""
    if ckpt.schedulers:
        return dict(ckpt.schedulers)
    position = (carried.state.schedule or {}).get("count")
    step = carried.state.step if position is None else position
    home = carried.state.home
    saved = home.schedulers if home is not None and home.framework == "torch" else {}
    found = [schedule_of(state, step) for state in separate(saved).values()]
    if found and all(schedule is not None and schedule.position == step for schedule in found):
        return dict(saved)
    if position is None:
        return {}
    return {"scheduler_state_dict": scheduler_state(position, len(carried.state.groups))}


def _copy_name(name: str) -> str:
    return name if "ema" in name else f"ema_{name}"


def _flax_scaler(scaler: Any) -> Any:
    """torch's GradScaler as the fields of `flax.training.dynamic_scale.DynamicScale`."""
    if not isinstance(scaler, Mapping) or "scale" not in scaler or "_growth_tracker" not in scaler:
        return scaler
    names = ("growth_factor", "backoff_factor", "growth_interval", "scale")
    made = {name: number(scaler[name]) for name in names if name in scaler}
    return {**made, "fin_steps": number(scaler["_growth_tracker"])}


def _torch_scaler(scaler: Any) -> Any:
    """The fields of Flax's DynamicScale as torch's GradScaler."""
    if not isinstance(scaler, Mapping) or "fin_steps" not in scaler:
        return scaler
    defaults = {"growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000}
    known = {name: number(scaler.get(name, value)) for name, value in defaults.items()}
    return {
        "scale": float(number(scaler["scale"])),
        **known,
        "_growth_tracker": int(number(scaler["fin_steps"])),
    }
