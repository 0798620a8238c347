"""Adam's moments, which several rules keep."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

__all__ = ["moments", "power", "zeros"]


def zeros(params: Any) -> Any:
    """Return zeros like the parameters."""
    return jax.tree.map(jnp.zeros_like, params)


def moments(grads: Any, state: Any, b1: float, b2: float) -> tuple[Any, Any, Any]:
    """Return the count and Adam's moments after one more gradient."""
    mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, grads)
    nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, grads)
    return optax.safe_increment(state.count), mu, nu


def power(base: float, count: Any, like: Any) -> Any:
    """Return a power of a decay, in the precision of an array."""
    return jnp.asarray(base, like.dtype) ** count
