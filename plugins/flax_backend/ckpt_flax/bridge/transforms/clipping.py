"""Clipping as torch has it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

__all__ = ["torch_clip_by_global_norm"]


def torch_clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """Clip as `torch.nn.utils.clip_grad_norm_` does: by min(1, max_norm / (norm + 1e-6)).

    Arguments:
        max_norm: the largest norm of all gradients together.
    """

    def init(params: Any) -> Any:
        del params
        return optax.EmptyState()

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(grads)))
        factor = jnp.minimum(1.0, max_norm / (norm + 1e-6))
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), grads), state

    return optax.GradientTransformation(init, update)
