"""Schedules: whether a learning-rate schedule ends where a run was to end, so that more epochs go beyond it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.errors import CheckpointError
from ckpt_core.layouts.values import number
from ckpt_core.schema import Checkpoint

__all__ = ["schedule_end", "schedule_steps"]

_ENDS: Final = ("T_max", "total_steps", "total_iters", "num_training_steps", "max_steps", "t_initial")
"""Under these a scheduler's state says where it ends (`torch/optim/lr_scheduler.py`; timm)."""

_WORDS: Final = ("schedule", "scheduler", "lr_schedule", "lr_scheduler", "lr_scheduler_type", "sched")
_ENDLESS: Final = ("", "none", "constant", "step", "exponential", "plateau")


def schedule_end(ckpt: Checkpoint) -> str:
    """Say where a schedule ends, as far as a checkpoint tells; "" where there is none, or one without an end.

    A scheduler's saved state names its end. An optax schedule saves its count of steps alone, and a config names
    it at most: both may have ended.
    """
    for name, state in ckpt.schedulers.items():
        found = _end_in(state)
        if found:
            return f"{name} ends at {found[0]} = {found[1]}"
    if ckpt.schedulers:
        return ""
    for key, value in ckpt.config.items():
        if key.lower() in _WORDS and isinstance(value, str) and value.lower() not in _ENDLESS:
            return f"the config names a schedule, {key} = {value!r}"
    try:
        counts = [state.schedule for state in ckpt.opt_states.values() if state.schedule is not None]
    except CheckpointError:
        return ""
    return "optax counts the steps of a schedule, whose end is not saved" if counts else ""


def schedule_steps(ckpt: Checkpoint) -> frozenset[int]:
    """Return how often each of the saved schedulers was stepped."""
    counts = [
        number(state.get("last_epoch")) for state in ckpt.schedulers.values() if isinstance(state, Mapping)
    ]
    return frozenset(count for count in counts if type(count) is int and count > 0)


def _end_in(state: Any) -> tuple[str, Any] | None:
    """The first entry that names an end, also of schedulers inside of one (SequentialLR)."""
    stack, looked = [state], 0
    while stack and looked < 10_000:
        node = stack.pop()
        looked += 1
        if isinstance(node, Mapping):
            for key in _ENDS:
                value = number(node.get(key))
                if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
                    return key, value
            stack.extend(child for child in node.values() if isinstance(child, (Mapping, list, tuple)))
        elif isinstance(node, (list, tuple)):
            stack.extend(child for child in node if isinstance(child, (Mapping, list, tuple)))
    return None
