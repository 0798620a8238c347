"""Ops: what happens to arrays on the way from source to target, as data.

A rule hands its source arrays to a chain of ops, as a tuple in order; each op takes a tuple and returns one, and what
the last returns fills the targets in order. An op knows what it does to shapes and dtypes (`specs`), to arrays without
copying them (`apply`), and which op undoes it (`inverse`).

    same number         transpose reshape flip cast resize
    fewer or more       split concat stack unstack sum spread copy tie arrange deal
    ends                skip (no target), initial and constant (no source)
"""

from __future__ import annotations

from typing import Final

from ckpt_core.transfer.ops.base import Op, chain_specs, inverse_chain
from ckpt_core.transfer.ops.ends import Constant, Filling, Initial, Skip
from ckpt_core.transfer.ops.several import (
    Arrange,
    Concat,
    Copy,
    Deal,
    Split,
    Spread,
    Stack,
    Sum,
    Tie,
    Unstack,
)
from ckpt_core.transfer.ops.single import Cast, Flip, Reshape, Resize, Transpose

__all__ = [
    "OPS",
    "Arrange",
    "Cast",
    "Concat",
    "Constant",
    "Copy",
    "Deal",
    "Filling",
    "Flip",
    "Initial",
    "Op",
    "Reshape",
    "Resize",
    "Skip",
    "Split",
    "Spread",
    "Stack",
    "Sum",
    "Tie",
    "Transpose",
    "Unstack",
    "chain_specs",
    "inverse_chain",
]

OPS: Final[dict[str, type[Op]]] = {
    kind.name: kind
    for kind in (
        *(Transpose, Reshape, Flip, Cast, Resize),
        *(Split, Concat, Stack, Unstack, Sum, Spread, Arrange, Deal, Copy, Tie),
        *(Skip, Initial, Constant),
    )
}
"""Every op by name."""
