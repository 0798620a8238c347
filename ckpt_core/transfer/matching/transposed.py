"""Square kernels: which way a convolution goes that may be a transposed one.

The kernel of a transposed convolution is turned round in torch and flipped in Flax; where as many channels go in as
come out, the shapes do not tell, and only types, names and other layers do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ckpt_core.transfer.matching.families import letters
from ckpt_core.transfer.matching.state import Match
from ckpt_core.transfer.matching.units import Unit

__all__ = ["Convolutions", "convolutions_of", "is_plain"]

_UPWARD: Final = frozenset({"transposed", "up", "decoder"})
_BY_CLASS: Final = "Conv_#"
"""What linen calls a plain convolution that was given no name; a transposed one is a `ConvTranspose_0`."""

_Role = tuple[tuple[str, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Convolutions:
    """What the convolutions tell whose shapes leave one way, or at which nothing hints at a transposed one.

    Arguments:
        turned: the kernel sizes of transposed ones that nothing but their shapes tells.
        plain: the roles of plain ones: those of the same role in other blocks of the same name are plain, too.
    """

    turned: frozenset[tuple[int, ...]]
    plain: frozenset[_Role]


def convolutions_of(matches: Iterable[tuple[Match, Unit]]) -> Convolutions:
    """Collect what the convolutions tell, given each match with its unit on torch's side."""
    turned: set[tuple[int, ...]] = set()
    plain: set[_Role] = set()
    for match, torch in matches:
        if match.pairing.ways == ("conv",):
            plain |= _roles(match, torch)
        elif not _hints_at_transposed(match, torch):
            if match.pairing.ways == ("flip",):
                turned.add(torch.main.spec.shape[2:])
            elif "conv" in match.pairing.ways:
                plain |= _roles(match, torch)
    return Convolutions(frozenset(turned), frozenset(plain))


def is_plain(match: Match, torch: Unit, others: Convolutions) -> bool:
    """Say whether nothing hints at a transposed convolution, or something says that it is none.

    A layer of a decoder may well be one. It is none if it mixes channels alone (1x1), if linen named it by its class,
    or if the model has plain ones of its name in other blocks of the same name.
    """
    size = torch.main.spec.shape[2:]
    words = _words(match) & _UPWARD
    if size in others.turned or _is_typed_transposed(match) or "transposed" in words or not _is_odd(size):
        return False
    is_named_by_class = _BY_CLASS in (match.source.pattern[-1], match.target.pattern[-1])
    is_as_elsewhere = _roles(match, torch) <= others.plain
    return not words or math.prod(size) == 1 or is_named_by_class or is_as_elsewhere


def _roles(match: Match, torch: Unit) -> set[_Role]:
    """The own name and that of the block on each side, without numbers, and the size of the kernel."""
    ends = [family.pattern[-2:] for family in (match.source, match.target)]
    return {(tuple(map(letters, names)), torch.main.spec.shape[2:]) for names in ends if len(names) > 1}


def _hints_at_transposed(match: Match, torch: Unit) -> bool:
    """Say whether something hints at a transposed convolution: a word, a type, an even kernel."""
    is_upward = bool(_words(match) & _UPWARD)
    return is_upward or _is_typed_transposed(match) or not _is_odd(torch.main.spec.shape[2:])


def _is_typed_transposed(match: Match) -> bool:
    return any("Transpose" in family.first.layer_type for family in (match.source, match.target))


def _is_odd(sizes: tuple[int, ...]) -> bool:
    return all(size % 2 for size in sizes)


def _words(match: Match) -> set[str]:
    return {token.concept for family in (match.source, match.target) for _, token in family.tokens}
