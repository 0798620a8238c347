"""The same network in linen and in NNX, as somebody wrote it for Flax: images (batch, 8, 8, 1)."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx


class LinenNet(nn.Module):
    """Numbered by linen: Conv_0, BatchNorm_0, ..."""

    width: int = 16

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Return the logits."""
        x = nn.Conv(self.width, (3, 3), padding=1)(images)
        x = nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-5)(x))
        x = nn.Conv(2 * self.width, (3, 3), strides=2, padding=1)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-5)(x))
        x = nn.relu(nn.Dense(64)(x.reshape(len(x), -1)))
        return nn.Dense(10)(x)


class NnxNet(nnx.Module):
    """Named by hand."""

    def __init__(self, width: int = 16, *, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(1, width, (3, 3), padding=1, rngs=rngs)
        self.norm1 = nnx.BatchNorm(width, use_running_average=True, epsilon=1e-5, rngs=rngs)
        self.conv2 = nnx.Conv(width, 2 * width, (3, 3), strides=2, padding=1, rngs=rngs)
        self.norm2 = nnx.BatchNorm(2 * width, use_running_average=True, epsilon=1e-5, rngs=rngs)
        self.hidden = nnx.Linear(32 * width, 64, rngs=rngs)
        self.out = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Return the logits."""
        x = nnx.relu(self.norm1(self.conv1(images)))
        x = nnx.relu(self.norm2(self.conv2(x)))
        x = nnx.relu(self.hidden(x.reshape(len(x), -1)))
        return self.out(x)


def linen() -> Any:
    """Return the shapes of LinenNet's variables: what `ckpt transfer --like flax_nets:linen` fills."""
    return jax.eval_shape(LinenNet().init, jax.random.key(0), jnp.ones((1, 8, 8, 1)))


def nnx_net() -> NnxNet:
    """Return a fresh NnxNet."""
    return NnxNet(rngs=nnx.Rngs(0))
