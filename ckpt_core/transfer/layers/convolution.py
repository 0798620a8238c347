"""Convolutions: torch has channels first and kernels (O, I/groups, *k), Flax channels last and (*k, I/groups, O)."""

from __future__ import annotations

from ckpt_core.layers import Layer, line

__all__ = ["ROWS"]

_PADDING = (
    "torch pads by numbers; Flax by 'SAME', 'VALID' (the default of nn.Conv is 'SAME') or pairs of numbers."
)
_TRANSPOSED = (
    "torch's padding p is Flax's pair (d * (k - 1) - p, d * (k - 1) - p + output_padding) for dilation d.",
    "Flax has no transposed convolution in groups.",
)


def _plain(rank: int) -> Layer:
    spatial = ", ".join(str(axis) for axis in range(2, rank + 2))
    return Layer(
        f"conv{rank}d",
        (f"Conv{rank}d",),
        ("nn.Conv", "nnx.Conv"),
        (line("weight -> kernel", f"transpose({spatial}, 1, 0)"), line("bias -> bias")),
        note=(_PADDING, "Groups, depthwise ones included, are feature_group_count, and change nothing else."),
    )


def _transposed(rank: int, kept: bool) -> Layer:
    spatial = ", ".join(str(axis) for axis in range(2, rank + 2))
    ops = (
        (f"transpose({spatial}, 1, 0)",)
        if kept
        else (f"transpose({spatial}, 0, 1)", f"flip({', '.join(map(str, range(rank)))})")
    )
    return Layer(
        f"transposed conv{rank}d" + (", kernel kept" if kept else ""),
        (f"ConvTranspose{rank}d",),
        ("nn.ConvTranspose", "nnx.ConvTranspose"),
        (line("weight -> kernel", *ops), line("bias -> bias")),
        when=(("transpose_kernel", kept),),
        note=_TRANSPOSED,
    )


ROWS = (
    *(_plain(rank) for rank in (1, 2, 3)),
    *(_transposed(rank, kept) for rank in (1, 2, 3) for kept in (False, True)),
)
