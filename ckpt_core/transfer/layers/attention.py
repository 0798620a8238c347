"""Attention: torch packs queries, keys and values into one matrix, Flax has one kernel per head each."""

from __future__ import annotations

from ckpt_core.layers import Layer, line

__all__ = ["ROWS"]

_FLAX = ("nn.MultiHeadDotProductAttention", "nn.MultiHeadAttention", "nnx.MultiHeadAttention")
_HEADS = "query/{0} key/{0} value/{0}"
_OUT = (
    line("out_proj.weight -> out/kernel", "transpose", "reshape({num_heads}, {head_dim}, -1)"),
    line("out_proj.bias -> out/bias"),
)
_BIAS = line(
    f"in_proj_bias -> {_HEADS.format('bias')}", "split(axis=0, parts=3)", "reshape({num_heads}, {head_dim})"
)
_NOTE = (
    "torch takes (length, batch, features) unless batch_first=True; Flax (batch, length, features).",
    "torch's masks say what to leave out, Flax's what to keep.",
    "add_bias_kv and add_zero_attn have no counterpart in Flax.",
)

ROWS = (
    Layer(
        "multi-head attention, packed",
        ("MultiheadAttention",),
        _FLAX,
        (
            line(
                f"in_proj_weight -> {_HEADS.format('kernel')}",
                "split(axis=0, parts=3)",
                "transpose",
                "reshape(-1, {num_heads}, {head_dim})",
            ),
            _BIAS,
            *_OUT,
        ),
        settings=("num_heads", "head_dim"),
        note=_NOTE,
    ),
    Layer(
        "multi-head attention, separate",
        ("MultiheadAttention",),
        _FLAX,
        (
            *(
                line(
                    f"{short}_proj_weight -> {name}/kernel",
                    "transpose",
                    "reshape(-1, {num_heads}, {head_dim})",
                )
                for short, name in (("q", "query"), ("k", "key"), ("v", "value"))
            ),
            _BIAS,
            *_OUT,
        ),
        settings=("num_heads", "head_dim"),
        when=(("_qkv_same_embed_dim", False),),
        note=("With kdim or vdim torch keeps three matrices, and still one packed bias.", *_NOTE),
    ),
)
