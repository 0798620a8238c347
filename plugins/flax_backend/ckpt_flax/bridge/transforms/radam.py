"""RAdam as torch has it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ckpt_flax.bridge.transforms.moments import moments, power, zeros

__all__ = ["ScaleByTorchRadamState", "scale_by_torch_radam"]


class ScaleByTorchRadamState(NamedTuple):
    """Adam's moments."""

    count: Any
    mu: Any
    nu: Any


def scale_by_torch_radam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Scale as `torch.optim.RAdam` does: eps is added to the root of the uncorrected second moment.

    u = r_t m / (1 - b1^t) sqrt(1 - b2^t) / (sqrt(v) + eps) once rho_t > 5, and m / (1 - b1^t) before.

    Arguments:
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the root.
    """
    limit = 2 / (1 - b2) - 1

    def init(params: Any) -> ScaleByTorchRadamState:
        return ScaleByTorchRadamState(jnp.zeros([], jnp.int32), zeros(params), zeros(params))

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, ScaleByTorchRadamState]:
        del params
        count, mu, nu = moments(grads, state, b1, b2)
        wide = jnp.result_type(float)
        decay = jnp.asarray(b2, wide) ** count
        # 1 - b2^t loses its digits in float32 while it is small; expm1 keeps them, and with them the threshold.
        rest = -jnp.expm1(count * jnp.log(jnp.asarray(b2, wide)))
        rho = limit - 2 * count * decay / rest
        safe = jnp.where(rho > 5, rho, 5.0)
        rect = jnp.sqrt((safe - 4) * (safe - 2) * limit / ((limit - 4) * (limit - 2) * safe))

        def scaled(m: Any, v: Any) -> Any:
            corrected = m / (1 - power(b1, count, m))
            adaptive = jnp.sqrt(rest).astype(v.dtype) / (jnp.sqrt(v) + eps) * rect.astype(v.dtype)
            return jnp.where(rho > 5, corrected * adaptive, corrected)

        return jax.tree.map(scaled, mu, nu), ScaleByTorchRadamState(count, mu, nu)

    return optax.GradientTransformation(init, update)
