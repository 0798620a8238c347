"""Rprop as torch has it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ckpt_flax.bridge.transforms.moments import zeros

__all__ = ["ScaleByTorchRpropState", "scale_by_torch_rprop"]


class ScaleByTorchRpropState(NamedTuple):
    """The step sizes, and the gradients before."""

    step_sizes: Any
    prev_grads: Any


def scale_by_torch_rprop(
    learning_rate: float,
    eta_minus: float = 0.5,
    eta_plus: float = 1.2,
    min_step_size: float = 1e-6,
    max_step_size: float = 50.0,
) -> optax.GradientTransformation:
    """Step as `torch.optim.Rprop` does; chain it with `optax.scale(-1.0)`.

    s = sign(g g'); the step grows by eta_plus where s > 0 and shrinks by eta_minus where s < 0, where g counts as 0.

    Arguments:
        learning_rate: the first step size.
        eta_minus: the factor where the gradient's sign has changed.
        eta_plus: the factor where it has not.
        min_step_size: the smallest step size.
        max_step_size: the largest step size.
    """

    def init(params: Any) -> ScaleByTorchRpropState:
        return ScaleByTorchRpropState(
            jax.tree.map(lambda p: jnp.full_like(p, learning_rate), params), zeros(params)
        )

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, ScaleByTorchRpropState]:
        del params
        signs = jax.tree.map(lambda g, before: jnp.sign(g * before), grads, state.prev_grads)

        def resized(step: Any, sign: Any) -> Any:
            factor = jnp.where(sign > 0, eta_plus, jnp.where(sign < 0, eta_minus, 1.0)).astype(step.dtype)
            return jnp.clip(step * factor, min_step_size, max_step_size)

        steps = jax.tree.map(resized, state.step_sizes, signs)
        kept = jax.tree.map(lambda g, sign: jnp.where(sign < 0, jnp.zeros_like(g), g), grads, signs)
        return jax.tree.map(lambda g, s: jnp.sign(g) * s, kept, steps), ScaleByTorchRpropState(steps, kept)

    return optax.GradientTransformation(init, update)
