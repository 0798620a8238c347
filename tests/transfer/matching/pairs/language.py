"""Transformers over tokens, with the names of several schools."""

from __future__ import annotations

from typing import Any

import flax.linen as fnn
import jax
import jax.numpy as jnp
import torch
from torch import nn
from transfer.matching.judge import Pair

WIDTH, HEADS, VOCABULARY, LENGTH, DEPTH = 16, 4, 23, 6, 3


def attend(q: Any, k: Any, v: Any) -> Any:
    """Attention without a mask, heads taken from the last axis, in either framework."""
    split = [x.reshape(*x.shape[:2], HEADS, -1) for x in (q, k, v)]
    if isinstance(q, torch.Tensor):
        weights = torch.einsum("bqhd,bkhd->bhqk", *split[:2]) / (q.shape[-1] / HEADS) ** 0.5
        return torch.einsum("bhqk,bkhd->bqhd", weights.softmax(-1), split[2]).reshape(q.shape)
    weights = jnp.einsum("bqhd,bkhd->bhqk", *split[:2]) / (q.shape[-1] / HEADS) ** 0.5
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(weights), split[2]).reshape(q.shape)


# GPT: packed `c_attn`, tied embeddings.


class GPTBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(WIDTH, eps=1e-6)
        self.attn = nn.ModuleDict({"c_attn": nn.Linear(WIDTH, 3 * WIDTH), "c_proj": nn.Linear(WIDTH, WIDTH)})
        self.ln_2 = nn.LayerNorm(WIDTH, eps=1e-6)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(WIDTH, 4 * WIDTH), "c_proj": nn.Linear(4 * WIDTH, WIDTH)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn["c_proj"](attend(*self.attn["c_attn"](self.ln_1(x)).chunk(3, -1)))
        return x + self.mlp["c_proj"](torch.relu(self.mlp["c_fc"](self.ln_2(x))))


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(VOCABULARY, WIDTH),
                "wpe": nn.Embedding(LENGTH, WIDTH),
                "h": nn.ModuleList([GPTBlock() for _ in range(DEPTH)]),
                "ln_f": nn.LayerNorm(WIDTH, eps=1e-6),
            }
        )
        self.lm_head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.transformer["wte"](tokens) + self.transformer["wpe"].weight
        for block in self.transformer["h"]:
            x = block(x)
        return self.lm_head(self.transformer["ln_f"](x))


class FlaxBlock(fnn.Module):
    """Packed or separate, with the words of another school."""

    packed: bool = True

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        y = fnn.LayerNorm(name="norm1")(x)
        if self.packed:
            qkv = jnp.split(fnn.Dense(3 * WIDTH, name="attention_qkv")(y), 3, -1)
        else:
            qkv = [fnn.Dense(WIDTH, name=f"attention_{name}")(y) for name in ("query", "key", "value")]
        x = x + fnn.Dense(WIDTH, name="attention_out")(attend(*qkv))
        y = fnn.relu(fnn.Dense(4 * WIDTH, name="mlp_up")(fnn.LayerNorm(name="norm2")(x)))
        return x + fnn.Dense(WIDTH, name="mlp_down")(y)


class FlaxGPT(fnn.Module):
    packed: bool = True
    tied: bool = True
    scanned: bool = False

    @fnn.compact
    def __call__(self, tokens: Any) -> Any:
        embed = fnn.Embed(VOCABULARY, WIDTH, name="tok_embed")
        x = embed(tokens) + fnn.Embed(LENGTH, WIDTH, name="pos_embed")(jnp.arange(LENGTH))
        if self.scanned:
            body = fnn.scan(Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=DEPTH)
            x, _ = body(self.packed, name="layers")(x, None)
        else:
            for i in range(DEPTH):
                x = FlaxBlock(self.packed, name=f"layers_{i}")(x)
        x = fnn.LayerNorm(name="final_norm")(x)
        return embed.attend(x) if self.tied else fnn.Dense(VOCABULARY, use_bias=False, name="head")(x)


class Body(fnn.Module):
    packed: bool

    @fnn.compact
    def __call__(self, x: Any, _: Any) -> Any:
        return FlaxBlock(self.packed, name="block")(x), None


# torch's own encoder layers against Flax's attention.


class TorchEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 2 * WIDTH, 0.0, batch_first=True, layer_norm_eps=1e-6
        )
        self.encoder = nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False)
        self.classifier = nn.Linear(WIDTH, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.encoder(self.embedding(tokens)))


class FlaxEncoderLayer(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        x = fnn.LayerNorm()(x + fnn.MultiHeadDotProductAttention(HEADS, name="attention")(x))
        y = fnn.relu(fnn.Dense(2 * WIDTH)(x))
        return fnn.LayerNorm()(x + fnn.Dense(WIDTH)(y))


class FlaxEncoder(fnn.Module):
    @fnn.compact
    def __call__(self, tokens: Any) -> Any:
        x = fnn.Embed(VOCABULARY, WIDTH)(tokens)
        for i in range(DEPTH):
            x = FlaxEncoderLayer(name=f"block{i + 1}")(x)
        return fnn.Dense(3, name="head")(x)


# Gated feed-forward layers and shared keys, in two schools of naming: the second norm of a block is called after
# what comes before it in one, and after what comes behind it in the other.


class LlamaBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        linear = lambda a, b: nn.Linear(a, b, bias=False)  # noqa: E731
        self.self_attn = nn.ModuleDict({f"{n}_proj": linear(WIDTH, WIDTH) for n in "qkvo"})
        self.mlp = nn.ModuleDict({
            "gate_proj": linear(WIDTH, 24), "up_proj": linear(WIDTH, 24), "down_proj": linear(24, WIDTH),
        })  # fmt: skip
        self.input_layernorm = nn.RMSNorm(WIDTH, eps=1e-6)
        self.post_attention_layernorm = nn.RMSNorm(WIDTH, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.input_layernorm(x)
        a = self.self_attn
        x = x + a["o_proj"](attend(a["q_proj"](y), a["k_proj"](y), a["v_proj"](y)))
        y, m = self.post_attention_layernorm(x), self.mlp
        return x + m["down_proj"](nn.functional.silu(m["gate_proj"](y)) * m["up_proj"](y))


class Llama(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList([LlamaBlock() for _ in range(DEPTH)])
        self.norm = nn.RMSNorm(WIDTH, eps=1e-6)
        self.lm_head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x))


class MetaBlock(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        dense = lambda n, name: fnn.Dense(n, use_bias=False, name=name)  # noqa: E731
        y = fnn.RMSNorm(name="attention_norm")(x)
        q, k, v = (dense(WIDTH, f"attention_w{n}")(y) for n in "qkv")
        x = x + dense(WIDTH, "attention_wo")(attend(q, k, v))
        y = fnn.RMSNorm(name="ffn_norm")(x)
        gate = fnn.silu(dense(24, "feed_forward_w1")(y)) * dense(24, "feed_forward_w3")(y)
        return x + dense(WIDTH, "feed_forward_w2")(gate)


class MetaLlama(fnn.Module):
    @fnn.compact
    def __call__(self, tokens: Any) -> Any:
        x = fnn.Embed(VOCABULARY, WIDTH, name="tok_embeddings")(tokens)
        for i in range(DEPTH):
            x = MetaBlock(name=f"layers_{i}")(x)
        return fnn.Dense(VOCABULARY, use_bias=False, name="output")(fnn.RMSNorm(name="norm")(x))


OPEN = frozenset({"gpt, head of its own", "gated layers of two schools"})
TOKENS = {"shape": (2, LENGTH), "tokens": VOCABULARY}
PAIRS = (
    Pair("gpt, packed on both sides, tied", GPT, FlaxGPT, **TOKENS),
    Pair("gpt, packed against separate", GPT, lambda: FlaxGPT(packed=False), **TOKENS),
    Pair("gpt, head of its own", GPT, lambda: FlaxGPT(tied=False), **TOKENS),
    Pair("gpt, scanned", GPT, lambda: FlaxGPT(scanned=True), **TOKENS),
    Pair("gpt, scanned and separate", GPT, lambda: FlaxGPT(scanned=True, packed=False), **TOKENS),
    Pair("encoder layers of torch", TorchEncoder, FlaxEncoder, **TOKENS),
    Pair("gated layers of two schools", Llama, MetaLlama, **TOKENS),
)
