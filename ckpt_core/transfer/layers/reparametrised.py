"""Weight and spectral normalisation around a Linear or a convolution."""

from __future__ import annotations

from typing import Final

from ckpt_core.layers import Layer, Line, line

__all__ = ["ROWS"]

_WEIGHT_NOTE = (
    "Flax adds epsilon, 1e-12, to the squared norm.",
    "The name of linen's scale holds slashes: layer_instance/kernel/scale is one key.",
    "Below a parent it is WeightNorm_0/Dense_0/kernel/scale, two segments, beside Dense_0.",
    "NNX stores the normalised kernel back at every call; its direction stays.",
    "torch norms slices of the first axis: a transposed convolution's inputs, Flax's last axis if transpose_kernel.",
)
_SPECTRAL_NOTE = (
    "Flax takes a step of the power iteration at every call, torch in training alone: equal where u is converged.",
    "torch's v has no place in Flax, which computes it; on the way back it is missing.",
    "sigma is written by Flax and never read.",
)
_KERNELS: Final[dict[str, str]] = {
    "Linear": "transpose(1, 0)",
    "Conv1d": "transpose(2, 1, 0)",
    "Conv2d": "transpose(2, 3, 1, 0)",
    "Conv3d": "transpose(2, 3, 4, 1, 0)",
}
"""How the weight becomes the kernel."""
_TRANSPOSED: Final[dict[str, str]] = {f"ConvTranspose{rank}d": _KERNELS[f"Conv{rank}d"] for rank in (1, 2, 3)}
"""The same where `transpose_kernel=True`."""


def _weight_norm(kind: str, kernel: str, flax: str, scale: str) -> Layer:
    """A row for both of torch's spellings: `torch.nn.utils.parametrizations.weight_norm`, and the older one."""
    return Layer(
        f"weight norm of {kind}{', nnx' if flax.startswith('nnx') else ''}",
        (kind,),
        (flax,),
        (
            line(f"parametrizations.weight.original0 -> {scale}", "reshape(-1)"),
            line("parametrizations.weight.original1 -> layer_instance/kernel", kernel),
            line(f"weight_g -> {scale}", "reshape(-1)"),
            line("weight_v -> layer_instance/kernel", kernel),
            line("bias -> layer_instance/bias"),
        ),
        when=(("weight_norm", True), *((("transpose_kernel", True),) if kind in _TRANSPOSED else ())),
        note=_WEIGHT_NOTE,
    )


def _spectral_norm(kind: str, flax: str, stats: tuple[str, str]) -> Layer:
    """A row for both of torch's spellings, too."""
    skip = "skip('Flax computes it from u')"
    return Layer(
        f"spectral norm of {kind}{', nnx' if flax.startswith('nnx') else ''}",
        (kind,),
        (flax,),
        (
            Line(("parametrizations.weight.0._u",), stats[:1], ("reshape(1, -1)",)),
            line("parametrizations.weight.original -> layer_instance/kernel", _KERNELS[kind]),
            line("parametrizations.weight.0._v ->", skip),
            Line(("weight_u",), stats[:1], ("reshape(1, -1)",)),
            line("weight_orig -> layer_instance/kernel", _KERNELS[kind]),
            line("weight_v ->", skip),
            Line((), stats[1:], ("constant(1.0)",)),
            line("bias -> layer_instance/bias"),
        ),
        when=(("spectral_norm", True),),
        note=_SPECTRAL_NOTE,
    )


ROWS = (
    *(
        _weight_norm(kind, kernel, flax, scale)
        for flax, scale in (
            ("nn.WeightNorm", r"layer_instance\/kernel\/scale"),
            ("nnx.WeightNorm", "scales/('kernel',)"),
        )
        for kind, kernel in (_KERNELS | _TRANSPOSED).items()
    ),
    *(
        _spectral_norm(kind, flax, stats)
        for flax, stats in (
            ("nn.SpectralNorm", ("layer_instance/kernel/u", "layer_instance/kernel/sigma")),
            ("nnx.SpectralNorm", ("batch_stats/('kernel', 'u')", "batch_stats/('kernel', 'sigma')")),
        )
        for kind in _KERNELS
    ),
)
