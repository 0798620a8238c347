"""A siamese transformer, and a matcher with two of its kind; plain jax and linen, nothing here knows ckpt-core."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

WIDTH = 32


class Transformer(nn.Module):
    """Self-attention blocks over (batch, length, WIDTH)."""

    layers: int = 2

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return features of the same shape."""
        for _ in range(self.layers):
            x = x + nn.MultiHeadDotProductAttention(num_heads=4)(nn.LayerNorm()(x))
            x = x + nn.Dense(WIDTH)(nn.gelu(nn.Dense(2 * WIDTH)(nn.LayerNorm()(x))))
        return x


class Siamese(nn.Module):
    """Stage one: the same transformer on both sides, and a projection that is thrown away afterwards."""

    @nn.compact
    def __call__(self, a: jax.Array, b: jax.Array) -> jax.Array:
        """Return the similarity of each pair."""
        transformer, head = Transformer(name="siamese_transformer"), nn.Dense(16, name="projection")
        left, right = (head(transformer(x).mean(1)) for x in (a, b))
        return (left * right).sum(-1)


class Matcher(nn.Module):
    """Stage two: a global and a local branch, which go their own ways, and a head."""

    def setup(self) -> None:
        self.transformer_global = Transformer()
        self.transformer_local = Transformer()
        self.head = nn.Dense(1)

    def __call__(self, a: jax.Array, b: jax.Array) -> jax.Array:
        """Return the matching score of each pair of positions."""
        left, right = self.transformer_global(a), self.transformer_local(b)
        return self.head(left[:, :, None] * right[:, None, :])[..., 0]


def pairs(seed: int, count: int = 16, length: int = 6) -> tuple[jax.Array, jax.Array]:
    """Return sequences, and noisy copies of them."""
    first, second = jax.random.split(jax.random.key(seed))
    a = jax.random.normal(first, (count, length, WIDTH))
    return a, a + 0.1 * jax.random.normal(second, a.shape)


def fit(loss: Any, params: Any, steps: int = 20, rate: float = 0.01) -> Any:
    """Return params after some steps of gradient descent."""
    step = jax.jit(lambda p: jax.tree.map(lambda x, g: x - rate * jnp.clip(g, -1, 1), p, jax.grad(loss)(p)))
    for _ in range(steps):
        params = step(params)
    return params
