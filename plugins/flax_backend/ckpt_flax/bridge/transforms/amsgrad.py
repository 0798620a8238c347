"""AMSGrad as torch has it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ckpt_flax.bridge.transforms.moments import moments, power, zeros

__all__ = ["ScaleByTorchAmsgradState", "scale_by_torch_amsgrad"]


class ScaleByTorchAmsgradState(NamedTuple):
    """Adam's moments, and the largest raw second moment so far."""

    count: Any
    mu: Any
    nu: Any
    max_nu: Any


def scale_by_torch_amsgrad(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Scale as `torch.optim.Adam(amsgrad=True)` does: by the maximum of the raw second moments, corrected afterwards.

    u = m / (1 - b1^t) / (sqrt(max_nu / (1 - b2^t)) + eps), max_nu = max(max_nu, nu).

    Arguments:
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the root.
    """

    def init(params: Any) -> ScaleByTorchAmsgradState:
        return ScaleByTorchAmsgradState(jnp.zeros([], jnp.int32), zeros(params), zeros(params), zeros(params))

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, ScaleByTorchAmsgradState]:
        del params
        count, mu, nu = moments(grads, state, b1, b2)
        largest = jax.tree.map(jnp.maximum, state.max_nu, nu)

        def scaled(m: Any, v: Any) -> Any:
            root = jnp.sqrt(v) / jnp.sqrt(1 - power(b2, count, v)) + eps
            return m / (1 - power(b1, count, m)) / root

        return jax.tree.map(scaled, mu, largest), ScaleByTorchAmsgradState(count, mu, nu, largest)

    return optax.GradientTransformation(init, update)
