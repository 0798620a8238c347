"""Normalisations: the same arrays under other names; what differs are defaults, and batch statistics."""

from __future__ import annotations

from ckpt_core.layers import Layer, line

__all__ = ["ROWS"]

_EPSILON = "eps is 1e-5 in torch (RMSNorm: that of the dtype) and 1e-6 in Flax: set epsilon."
_AFFINE = (line("weight -> scale"), line("bias -> bias"))

ROWS = (
    Layer("layer norm", ("LayerNorm",), ("nn.LayerNorm", "nnx.LayerNorm"), _AFFINE, note=(_EPSILON,)),
    Layer(
        "layer norm over channels, height and width",
        ("LayerNorm",),
        ("nn.LayerNorm", "nnx.LayerNorm"),
        (line("weight -> scale", "transpose(1, 2, 0)"), line("bias -> bias", "transpose(1, 2, 0)")),
        when=(("normalized_shape", "CHW -> HWC"),),
        note=(_EPSILON, "In Flax: reduction_axes and feature_axes are the last three."),
    ),
    Layer("group norm", ("GroupNorm",), ("nn.GroupNorm", "nnx.GroupNorm"), _AFFINE, note=(_EPSILON,)),
    Layer("rms norm", ("RMSNorm",), ("nn.RMSNorm", "nnx.RMSNorm"), _AFFINE[:1], note=(_EPSILON,)),
    Layer(
        "instance norm",
        ("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"),
        ("nn.InstanceNorm", "nnx.InstanceNorm"),
        _AFFINE,
        note=(_EPSILON, "torch learns no scale and bias unless affine=True; Flax does by default."),
    ),
    Layer(
        "batch norm",
        ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"),
        ("nn.BatchNorm", "nnx.BatchNorm"),
        (
            *_AFFINE,
            line("running_mean -> mean"),
            line("running_var -> var"),
            line("num_batches_tracked ->", "skip('Flax counts no batches', back=0)"),
        ),
        note=(
            "eps is 1e-5 in both.",
            "Flax's momentum is 1 - torch's: 0.9 for torch's 0.1.",
            "In training torch tracks the unbiased variance, Flax the biased one.",
            "linen keeps mean and var in batch_stats.",
        ),
    ),
)
