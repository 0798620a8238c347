"""Weight and spectral normalisation around a Linear or a convolution."""

from __future__ import annotations

from ckpt_core.layers import Layer, line

__all__ = ["ROWS"]

_NOTE = (
    "Flax adds epsilon, 1e-12, to the squared norm.",
    "The name of linen's scale holds slashes: layer_instance/kernel/scale is one key.",
    "NNX stores the normalised kernel back at every call; its direction stays.",
)


def _weight_norm(kind: str, flax: str, scale: str, kernel: str) -> Layer:
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
        when=(("weight_norm", True),),
        note=_NOTE,
    )


ROWS = tuple(
    _weight_norm(kind, flax, scale, kernel)
    for flax, scale in (
        ("nn.WeightNorm", r"layer_instance\/kernel\/scale"),
        ("nnx.WeightNorm", "scales/('kernel',)"),
    )
    for kind, kernel in (("Linear", "transpose"), ("Conv2d", "transpose(2, 3, 1, 0)"))
)
