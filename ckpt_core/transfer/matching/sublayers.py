"""Sublayers: what the members of a block are by convention, where their names say it only together.

A block of two norms has one for its attention and one for its dense layers, in this order whether they stand before or
behind: `ln_1, ln_2` and `attention_norm, ffn_norm`, `input_layernorm, post_attention_layernorm`, `layernorm_before,
layernorm_after`. Dense layers called `w1, w2, w3` of which the second is the way back are gate, down and up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ckpt_core.transfer.matching.words import Token

__all__ = ["GATED", "is_gated", "order_of_norms"]

_FIRST: Final = frozenset({"attention", "pre-attention", "in"})
_SECOND: Final = frozenset({"feedforward", "pre-feedforward", "final"})
_PAIRS: Final = (
    *((first, second) for first in _FIRST for second in _SECOND),
    ("in", "post-attention"),
    ("before", "after"),
    ("post-attention", "post-feedforward"),
)

GATED: Final = {
    "w1": Token("gate", "w1", known=True),
    "w2": Token("down", "w2", known=True),
    "w3": Token("up", "w3", known=True),
}


def order_of_norms(names: Sequence[frozenset[str]]) -> tuple[int, int] | None:
    """Return the places of the two norms of a block; None where their names do not say it.

    Arguments:
        names: of each norm of a block, the concepts of its name within the block.

    Example:
        >>> order_of_norms([frozenset({"feedforward", "norm"}), frozenset({"attention", "norm"})])
        (1, 0)
    """
    if len(names) != 2 or not all("norm" in name for name in names):
        return None
    one, other = names
    if any(first in one and second in other for first, second in _PAIRS):
        return (0, 1)
    if any(first in other and second in one for first, second in _PAIRS):
        return (1, 0)
    of_attention = [
        "attention" in name for name in names
    ]  # `attention/output/LayerNorm` beside `output/LayerNorm`
    if sum(any(concept.endswith("attention") for concept in name) for name in names) != 1 or not any(
        of_attention
    ):
        return None
    return (0, 1) if of_attention[0] else (1, 0)


def is_gated(shapes: dict[str, tuple[int, ...]]) -> bool:
    """Say whether matrices are a gate, a way back and a way forth, by their names and shapes."""
    if shapes.keys() != GATED.keys():
        return False
    gate, down, up = (shapes[name] for name in GATED)
    return len(gate) == 2 and gate == up == down[::-1] and gate != down
