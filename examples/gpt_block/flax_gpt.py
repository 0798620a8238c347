"""The same GPT in linen, written for jax: kernels per head, layers scanned over one stack, and `Embed.attend`."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

WIDTH, HEADS, LAYERS, WORDS, LENGTH = 32, 4, 3, 50, 16


class Block(nn.Module):
    """One layer; its arrays get a leading axis of LAYERS from the scan."""

    @nn.compact
    def __call__(self, x: jax.Array, _: Any) -> tuple[jax.Array, None]:
        """Return (features, None), as a scan wants it."""
        mask = nn.make_causal_mask(x[..., 0])
        y = nn.LayerNorm(epsilon=1e-5, name="ln_1")(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=HEADS, name="attn")(y, mask=mask)
        y = nn.Dense(4 * WIDTH, name="fc")(nn.LayerNorm(epsilon=1e-5, name="ln_2")(x))
        return x + nn.Dense(WIDTH, name="out")(nn.gelu(y, approximate=False)), None


class GPT(nn.Module):
    """Logits of the next word."""

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Return logits of (batch, length, WORDS)."""
        table = nn.Embed(WORDS, WIDTH, name="wte")
        x = table(tokens) + nn.Embed(LENGTH, WIDTH, name="wpe")(jnp.arange(tokens.shape[1]))
        axes = {"params": 0, "intermediates": 0}
        scanned = nn.scan(Block, variable_axes=axes, split_rngs={"params": True}, length=LAYERS)
        x, _ = scanned(name="layers")(x, None)
        return table.attend(nn.LayerNorm(epsilon=1e-5, name="ln_f")(x))


def gpt() -> Any:
    """Return the shapes of its variables."""
    return jax.eval_shape(GPT().init, jax.random.key(0), jnp.zeros((1, LENGTH), jnp.int32))
