"""A denoiser of sets of images: a patch is the same place in all images of a set, so its size depends on theirs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn


class PatchEmbedding(nn.Module):
    """Cut a set (B, S, H, W, C) into patches of `patch_size**2 * S * C` numbers, norm and project them."""

    patch_size: int
    sample_size: int
    channels: int
    width: int

    def setup(self) -> None:
        size = self.patch_size**2 * self.sample_size * self.channels
        self.scale = self.param("scale", nn.initializers.ones, (size,))
        self.project = nn.Dense(self.width)

    def __call__(self, sets: jax.Array) -> jax.Array:
        batch, samples, height, width, channels = sets.shape
        p = self.patch_size
        cut = sets.reshape(batch, samples, height // p, p, width // p, p, channels)
        patches = cut.transpose(0, 2, 4, 3, 5, 1, 6).reshape(batch, -1, p * p * samples * channels)
        return self.project(patches * self.scale)


class Block(nn.Module):
    """Attention and an MLP, each added to what comes in."""

    width: int
    heads: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + nn.MultiHeadDotProductAttention(self.heads, name="attention")(nn.LayerNorm()(x))
        hidden = nn.gelu(nn.Dense(2 * self.width, name="wide")(nn.LayerNorm()(x)))
        return x + nn.Dense(self.width, name="narrow")(hidden)


class SetDenoiser(nn.Module):
    """Predict the noise in a set of images, given its level."""

    patch_size: int
    sample_size: int
    channels: int
    width: int
    depth: int
    heads: int

    @nn.compact
    def __call__(self, noisy: jax.Array, level: jax.Array) -> jax.Array:
        batch, samples, height, width, channels = noisy.shape
        p = self.patch_size
        embedding = PatchEmbedding(p, self.sample_size, self.channels, self.width, name="to_patch_embedding")
        x = embedding(noisy)
        x = x + self.param("position", nn.initializers.normal(0.02), (1, x.shape[1], self.width))
        x = x + nn.Dense(self.width, name="level")(level[:, None, None])
        for i in range(self.depth):
            x = Block(self.width, self.heads, name=f"block_{i}")(x)
        x = nn.Dense(p * p * self.sample_size * self.channels, name="to_patches")(nn.LayerNorm()(x))
        grid = x.reshape(batch, height // p, width // p, p, p, samples, channels)
        return jnp.transpose(grid, (0, 5, 1, 3, 2, 4, 6)).reshape(noisy.shape)
