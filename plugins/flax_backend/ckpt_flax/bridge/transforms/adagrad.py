"""Adagrad as torch has it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

__all__ = ["ScaleByTorchAdagradState", "scale_by_torch_adagrad"]


class ScaleByTorchAdagradState(NamedTuple):
    """The sums of squared gradients."""

    count: Any
    sum_of_squares: Any


def scale_by_torch_adagrad(
    eps: float = 1e-10, lr_decay: float = 0.0, initial_accumulator_value: float = 0.0
) -> optax.GradientTransformation:
    """Scale as `torch.optim.Adagrad` does: eps is added to the root, and the rate decays with the step.

    s = s + g^2; u = g / (sqrt(s) + eps) / (1 + (t - 1) lr_decay).

    Arguments:
        eps: added to the root.
        lr_decay: torch's decay of the learning rate.
        initial_accumulator_value: what the sums begin with.
    """

    def init(params: Any) -> ScaleByTorchAdagradState:
        sums = jax.tree.map(lambda p: jnp.full_like(p, initial_accumulator_value), params)
        return ScaleByTorchAdagradState(jnp.zeros([], jnp.int32), sums)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, ScaleByTorchAdagradState]:
        del params
        sums = jax.tree.map(lambda s, g: s + g * g, state.sum_of_squares, grads)
        slowed = 1 + state.count.astype(jnp.result_type(float)) * lr_decay
        updates = jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + eps) / slowed.astype(g.dtype), grads, sums)
        return updates, ScaleByTorchAdagradState(optax.safe_increment(state.count), sums)

    return optax.GradientTransformation(init, update)
