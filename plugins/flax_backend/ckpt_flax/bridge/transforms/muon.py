"""Muon as torch has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ckpt_flax.bridge.transforms.moments import zeros

__all__ = ["ScaleByTorchMuonState", "scale_by_torch_muon"]


class ScaleByTorchMuonState(NamedTuple):
    """The running mean of the gradients."""

    momentum: Any


def scale_by_torch_muon(
    momentum: float = 0.95,
    nesterov: bool = True,
    ns_coefficients: Sequence[float] = (3.4445, -4.775, 2.0315),
    eps: float = 1e-7,
    ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
    transposed: bool = True,
) -> optax.GradientTransformation:
    """Orthogonalise as `torch.optim.Muon` does, its bfloat16 rounding included; every parameter is a matrix.

    Arguments:
        momentum: decay of the running mean.
        nesterov: whether the gradient is mixed in once more.
        ns_coefficients: a, b, c of the Newton-Schulz iteration.
        eps: the smallest norm divided by.
        ns_steps: iterations.
        adjust_lr_fn: None or "original" for sqrt(max(1, rows / columns)), "match_rms_adamw" for
            0.2 sqrt(max(rows, columns)), of torch's (out, in) shape.
        transposed: the parameters are (in, out), as Flax's kernels are.
    """
    a, b, c = ns_coefficients

    def rounded(x: Any) -> Any:
        return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)

    def orthogonal(x: Any) -> Any:
        dtype = x.dtype
        x = rounded(x.astype(jnp.float32))
        tall = x.shape[0] > x.shape[1]
        x = x.T if tall else x
        x = rounded(x / jnp.maximum(rounded(jnp.linalg.norm(x)), eps))
        for _ in range(ns_steps):
            gram = rounded(jnp.matmul(x, x.T, precision="highest"))
            mixed = rounded(b * gram + c * jnp.matmul(gram, gram, precision="highest"))
            x = rounded(a * x + jnp.matmul(mixed, x, precision="highest"))
        return (x.T if tall else x).astype(dtype)

    def ratio(shape: tuple[int, int]) -> float:
        rows, columns = (shape[1], shape[0]) if transposed else shape
        if adjust_lr_fn in (None, "original"):
            return float(max(1, rows / columns) ** 0.5)
        return float(0.2 * max(rows, columns) ** 0.5) if adjust_lr_fn == "match_rms_adamw" else 1.0

    def init(params: Any) -> ScaleByTorchMuonState:
        return ScaleByTorchMuonState(zeros(params))

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, ScaleByTorchMuonState]:
        del params
        means = jax.tree.map(lambda m, g: m + (1 - momentum) * (g - m), state.momentum, grads)

        def scaled(g: Any, m: Any) -> Any:
            mixed = g + momentum * (m - g) if nesterov else m
            matrix = mixed.T if transposed else mixed
            made = orthogonal(matrix)
            return (made.T if transposed else made) * ratio(g.shape)

        return jax.tree.map(scaled, grads, means), ScaleByTorchMuonState(means)

    return optax.GradientTransformation(init, update)
