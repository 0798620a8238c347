"""Schedules that count as torch's schedulers do."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

__all__ = ["every"]


def every(steps: int, schedule: Any) -> Any:
    """Return a schedule that moves on once in so many updates, as a torch scheduler that is stepped once an epoch.

    It is evaluated in the widest float that is enabled: optax's schedules turn an integer count into float32, also in
    float64 runs.

    Arguments:
        steps: the updates to a step of the schedule.
        schedule: a function of its own count.
    """
    return lambda count: schedule((count // steps).astype(jnp.result_type(float)))
