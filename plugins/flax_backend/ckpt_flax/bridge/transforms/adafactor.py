"""Adafactor as torch has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ckpt_flax.bridge.transforms.naming import name_of

__all__ = ["TorchAdafactorState", "torch_adafactor"]


class TorchAdafactorState(NamedTuple):
    """Means of squared gradients over each of two dimensions (kept with size 1), or unfactored; None elsewhere."""

    count: Any
    row_var: Any
    col_var: Any
    variance: Any


def torch_adafactor(
    learning_rate: Any,
    beta2_decay: float = -0.8,
    eps: tuple[float | None, float] = (None, 1e-3),
    d: float = 1.0,
    weight_decay: float = 0.0,
    axes: Mapping[str, tuple[int, int]] | None = None,
) -> optax.GradientTransformation:
    """Update as `torch.optim.Adafactor` does, from gradient to step: it needs no learning rate beside it.

    Arguments:
        learning_rate: a number, or a schedule.
        beta2_decay: the second moments' weight at step t is t^beta2_decay.
        eps: (the smallest root mean, None for the dtype's epsilon; the smallest scale of a parameter).
        d: the largest root mean square of an update.
        weight_decay: decoupled weight decay.
        axes: for parameters of two dimensions and more, by name, which axes are torch's last and last but one. Else
            they are those of a Flax kernel: (0, 1) of a matrix (in, out), (1, 0) of a convolution (h, w, in, out).
    """
    eps1, eps2 = eps

    def dims(name: str, x: Any) -> tuple[int, int] | None:
        if x.ndim < 2:
            return None
        default = (x.ndim - 3, x.ndim - 4) if x.ndim >= 4 else (0, x.ndim - 1)
        return tuple((axes or {}).get(name, default))

    def init(params: Any) -> TorchAdafactorState:
        def mean(which: int) -> Any:
            def leaf(path: Any, x: Any) -> Any:
                found = dims(name_of(path), x)
                if found is None:
                    return None
                return jnp.zeros(
                    [1 if i == found[which] else size for i, size in enumerate(x.shape)], x.dtype
                )

            return jax.tree_util.tree_map_with_path(leaf, params)

        whole = jax.tree.map(lambda x: jnp.zeros_like(x) if x.ndim < 2 else None, params)
        return TorchAdafactorState(jnp.zeros([], jnp.int32), mean(0), mean(1), whole)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, TorchAdafactorState]:
        if params is None:
            raise ValueError("torch_adafactor needs the parameters: tx.update(grads, state, params)")
        count = optax.safe_increment(state.count)
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        time = count.astype(jnp.result_type(float))
        weight = time**beta2_decay
        bounded = jnp.minimum(rate, 1 / jnp.sqrt(time))

        def leaf(path: Any, g: Any, p: Any, row: Any, column: Any, whole: Any) -> _Updated:
            found = dims(name_of(path), g)
            least = jnp.finfo(p.dtype).eps if eps1 is None else eps1
            w = weight.astype(g.dtype)
            if found is None:
                whole = whole + w * (g * g - whole)
                estimate = whole
            else:
                row = row + w * (jnp.mean(g * g, axis=found[0], keepdims=True) - row)
                column = column + w * (jnp.mean(g * g, axis=found[1], keepdims=True) - column)
                mean = jnp.maximum(jnp.mean(row, axis=found[1], keepdims=True), least)
                estimate = row * column / mean
            step = g / jnp.sqrt(jnp.maximum(estimate, least * least))
            scale = jnp.maximum(eps2, jnp.sqrt(jnp.mean(p * p))) * bounded.astype(g.dtype)
            scale /= jnp.maximum(1.0, jnp.sqrt(jnp.mean(step * step)) / d)
            decayed = (rate * weight_decay) * p if weight_decay else 0
            return _Updated(-(scale * step + decayed), row, column, whole)

        is_none = lambda x: x is None  # noqa: E731  # the holes are leaves here
        made = jax.tree_util.tree_map_with_path(
            leaf, grads, params, state.row_var, state.col_var, state.variance, is_leaf=is_none
        )
        parts = [
            jax.tree.map(lambda u, i=i: u[i], made, is_leaf=lambda x: isinstance(x, _Updated))
            for i in range(4)
        ]
        return parts[0], TorchAdafactorState(count, *parts[1:])

    return optax.GradientTransformation(init, update)


class _Updated(NamedTuple):
    update: Any
    row: Any
    column: Any
    whole: Any
