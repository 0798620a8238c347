"""Dense layers, embeddings, and layers of a single array."""

from __future__ import annotations

from ckpt_core.layers import Layer, line

__all__ = ["ROWS"]

ROWS = (
    Layer(
        "linear",
        ("Linear",),
        ("nn.Dense", "nnx.Linear"),
        (line("weight -> kernel", "transpose"), line("bias -> bias")),
    ),
    Layer(
        "linear after flatten",
        ("Linear",),
        ("nn.Dense", "nnx.Linear"),
        (
            line(
                "weight -> kernel",
                "reshape(-1, {channels}, {height}, {width})",
                "transpose(2, 3, 1, 0)",
                "reshape({features}, -1)",
            ),
            line("bias -> bias"),
        ),
        settings=("channels", "height", "width", "features"),
        when=(("flatten", "NCHW -> NHWC"),),
        note=(
            "torch flattens (C, H, W), Flax (H, W, C); the weights show the product of the three alone.",
            "features is the product channels * height * width.",
        ),
    ),
    Layer(
        "embedding",
        ("Embedding",),
        ("nn.Embed", "nnx.Embed"),
        (line("weight -> embedding"),),
        note=(
            "padding_idx stops torch's gradient of one row; the forward pass is the same.",
            "max_norm changes torch's table when it is looked up; Flax has no such thing.",
        ),
    ),
    Layer(
        "tied embedding",
        ("Embedding", "Linear"),
        ("nn.Embed", "nnx.Embed"),
        (line("embedding.weight head.weight -> embedding", "tie(2)"),),
        when=(("tied", True),),
        note=(
            "One array under two names in torch; `Embed.attend` in Flax, which has no second name.",
            "An output bias has no place in `attend`.",
        ),
    ),
    Layer(
        "bilinear",
        ("Bilinear",),
        ("nnx.Einsum",),
        (line("weight -> kernel"), line("bias -> bias")),
        note=("Flax has no such layer: jnp.einsum('...i,oij,...j->...o', x1, kernel, x2) + bias.",),
    ),
    Layer(
        "prelu",
        ("PReLU",),
        ("nn.PReLU", "nnx.PReLU"),
        (line("weight -> negative_slope", "reshape"),),
        note=("Flax has one slope for all channels; one per channel has no place.",),
    ),
)
