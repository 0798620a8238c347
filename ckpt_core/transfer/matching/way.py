"""A way from one weight to another: its name, and what it does to the arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ckpt_core.transfer.ops import Op, Reshape

__all__ = ["DENSE_OF_FLAX", "DENSE_OF_TORCH", "EMBEDDINGS", "Shape", "Way", "moved", "reshaped_ways"]

Shape = tuple[int, ...]

EMBEDDINGS: Final = frozenset({"Embedding", "EmbeddingBag", "Embed"})
DENSE_OF_TORCH: Final = frozenset({"Linear", "LazyLinear", "NonDynamicallyQuantizableLinear"})
DENSE_OF_FLAX: Final = frozenset({"nn.Dense", "nn.DenseGeneral", "nnx.Linear", "nnx.LinearGeneral"})


@dataclass(frozen=True, slots=True)
class Way:
    """One way from a source weight to a target weight.

    Arguments:
        name: "same", "transpose", "conv", "flip", "heads", "joined heads", "pointwise", "channels last" or "reshape";
            of matrices in a stack, "transpose" turns round each.
        usual: whether it is what the frameworks' own layers need.
        ops: the chain.
        others: the chain of the bias, where its own shape does not say it.
    """

    name: str
    usual: bool
    ops: tuple[Op, ...] = ()
    others: tuple[Op, ...] | None = None


def reshaped_ways(a: Shape, b: Shape) -> list[Way]:
    """The way between shapes that differ by axes of one element alone."""
    squeezed = [tuple(size for size in shape if size != 1) for shape in (a, b)]
    return [Way("reshape", False, (Reshape(b),))] if squeezed[0] == squeezed[1] else []


def moved(shape: Shape, axes: tuple[int, ...]) -> Shape:
    """Return a shape with its axes in another order."""
    return tuple(shape[axis] for axis in axes)
