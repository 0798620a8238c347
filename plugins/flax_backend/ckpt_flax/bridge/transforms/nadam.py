"""NAdam as torch has it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ckpt_flax.bridge.transforms.moments import moments, power, zeros

__all__ = ["ScaleByTorchNadamState", "scale_by_torch_nadam"]


class ScaleByTorchNadamState(NamedTuple):
    """Adam's moments, and for each parameter the product of the momenta so far, in float32 as torch has it."""

    count: Any
    mu: Any
    nu: Any
    mu_product: Any


def scale_by_torch_nadam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, momentum_decay: float = 4e-3
) -> optax.GradientTransformation:
    """Scale as `torch.optim.NAdam` does, its momentum schedule included.

    mu_t = b1 (1 - 0.96^(t momentum_decay) / 2), M_t = mu_1 ... mu_t;
    u = ((1 - mu_t) g / (1 - M_t) + mu_{t+1} m / (1 - M_{t+1})) / (sqrt(v / (1 - b2^t)) + eps).

    Arguments:
        b1: the momentum that the schedule tends to, and the decay of the first moment.
        b2: decay of the second moment.
        eps: added to the root.
        momentum_decay: torch's psi.
    """

    def init(params: Any) -> ScaleByTorchNadamState:
        product = jax.tree.map(lambda _: jnp.ones([], jnp.float32), params)
        return ScaleByTorchNadamState(jnp.zeros([], jnp.int32), zeros(params), zeros(params), product)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, ScaleByTorchNadamState]:
        del params
        count, mu, nu = moments(grads, state, b1, b2)
        wide = jnp.result_type(float)  # torch computes these scalars in Python's floats
        time = count.astype(wide)
        now = b1 * (1 - 0.5 * jnp.asarray(0.96, wide) ** (time * momentum_decay))
        following = b1 * (1 - 0.5 * jnp.asarray(0.96, wide) ** ((time + 1) * momentum_decay))
        product = jax.tree.map(lambda p: p * now.astype(p.dtype), state.mu_product)

        def scaled(m: Any, v: Any, g: Any, p: Any) -> Any:
            root = jnp.sqrt(v / (1 - power(b2, count, v))) + eps
            p = p.astype(wide)
            gradient = ((1 - now) / (1 - p)).astype(g.dtype) * g
            momentum = (following / (1 - p * following)).astype(m.dtype) * m
            return gradient / root + momentum / root

        updates = jax.tree.map(scaled, mu, nu, grads, product)
        return updates, ScaleByTorchNadamState(count, mu, nu, product)

    return optax.GradientTransformation(init, update)
