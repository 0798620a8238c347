"""Schedules that count as torch's schedulers do."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

__all__ = ["cosine_annealing", "cosine_restarts", "every"]


def every(steps: int, schedule: Any) -> Any:
    """Return a schedule that moves on once in so many updates, as a torch scheduler that is stepped once an epoch.

    It is evaluated in the widest float that is enabled: optax's schedules turn an integer count into float32, also in
    float64 runs.

    Arguments:
        steps: the updates to a step of the schedule.
        schedule: a function of its own count.
    """
    return lambda count: schedule((count // steps).astype(jnp.result_type(float)))


def cosine_annealing(highest: float, lowest: float, half: int) -> Any:
    """Return the schedule of `torch.optim.lr_scheduler.CosineAnnealingLR`, which rises again after its minimum.

    lowest + (highest - lowest) (1 + cos(pi t / half)) / 2; `optax.cosine_decay_schedule` stays at the minimum instead.

    Arguments:
        highest: the rate at the beginning.
        lowest: the rate after `half` steps (torch's `eta_min`).
        half: the steps down, as many as there are up again (torch's `T_max`).
    """
    return lambda count: lowest + (highest - lowest) * (1 + jnp.cos(jnp.pi * count / half)) / 2


def cosine_restarts(highest: float, lowest: float, first: int, times: int = 1) -> Any:
    """Return the schedule of `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`, stepped by whole steps.

    Arguments:
        highest: the rate at each restart.
        lowest: the rate that each period falls towards (torch's `eta_min`).
        first: the steps of the first period (torch's `T_0`).
        times: how many times as long each period is as the one before (torch's `T_mult`).
    """

    def start(period: Any) -> Any:
        return first * period if times == 1 else first * (times**period - 1) / (times - 1)

    def schedule(count: Any) -> Any:
        done = count / first
        period = jnp.floor(done if times == 1 else jnp.log1p(done * (times - 1)) / jnp.log(float(times)))
        period = jnp.where(start(period + 1) <= count, period + 1, period)  # the logarithm is rounded
        period = jnp.where(start(period) > count, period - 1, period)
        return cosine_annealing(highest, lowest, first)((count - start(period)) / times**period)

    return schedule
