"""Which way: where the shapes allow several, what tells a square matrix that is turned round from one that is not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from ckpt_core.transfer.matching.cuts import BY_HEAD
from ckpt_core.transfer.matching.flattening import flatten_ways, widths_of
from ckpt_core.transfer.matching.state import Match, Search
from ckpt_core.transfer.matching.structure import common
from ckpt_core.transfer.matching.units import Family
from ckpt_core.transfer.matching.vocabulary import TABLES
from ckpt_core.transfer.plan import Evidence

__all__ = ["Decision", "decide"]

_UPWARD: Final = frozenset({"transposed", "up", "decoder"})
_WORDS: Final = {
    "same": "kept",
    "transpose": "turned round",
    "conv": "convolutions",
    "flip": "transposed convolutions",
    "reshape": "reshaped",
    "channels last": "channels put last",
}

Category = tuple[object, ...]


@dataclass(frozen=True)
class Decision:
    """Which way a match goes.

    Arguments:
        way: its name; None where nothing tells.
        evidence: why.
        open: the ways that it may be, where none is settled.
        reason: why it is open.
        settled_by: what would settle it.
    """

    way: str | None
    evidence: Evidence | None = None
    open: tuple[str, ...] = ()
    reason: str = ""
    settled_by: str = ""


def decide(search: Search) -> list[Decision]:
    """Return the way of each match.

    A type of layer says it, and had a say already in which ways there are. Else siblings of the same kind whose
    shapes leave one way say it, the nearest first, if they agree. Else the names of the parts do: a `kernel` is
    turned round and an `embedding` is not. A dense layer at a flattening is never settled.
    """
    votes: dict[Category, list[Match]] = {}
    for match in search.matches:
        if len(match.pairing.ways) == 1:
            votes.setdefault(_category(match), []).append(match)
    crossing = set(search.styles) == {"torch", "flax"}
    widths = widths_of(search.torch_units) if crossing else None
    found = []
    for match in search.matches:
        torch = match.source.first if search.styles[0] == "torch" else match.target.first
        others = flatten_ways(torch, widths) if widths else ()
        if others and others[-1] in match.pairing.ways:
            found.append(
                Decision(
                    None,
                    open=others,
                    reason="the width is that of no other layer: it may be a flattened image, which the frameworks"
                    " lay out differently",
                    settled_by="The channels, height and width of what is flattened, or outputs of both models.",
                )
            )
        else:
            found.append(_decided(match, votes.get(_category(match), [])))
    return found


def _decided(match: Match, votes: list[Match]) -> Decision:
    ways = match.pairing.ways
    if len(ways) == 1:
        return Decision(ways[0], Evidence("shape", "only one way fits"))
    is_open = Decision(
        None,
        open=ways,
        reason=f"{' and '.join(_WORDS.get(way, way) for way in ways)} both fit its shape",
        settled_by="The types of the layers, outputs of both models, or a rule.",
    )
    if any(BY_HEAD in way for way in ways):
        return Decision(
            None,
            open=ways,
            reason="a packed matrix of this name holds queries, keys and values one after another, or head by head",
            settled_by="The number of heads and the model's own code, a rule, or outputs of both models.",
        )
    typed = match.source.first.layer_type or match.target.first.layer_type
    if "flip" in ways and not typed:
        if _is_plain(match.source) and _is_plain(match.target):
            return Decision("conv", Evidence("name", "nothing says that it is transposed"))
        return is_open
    voices = _nearest(match, votes)
    said = {voice.pairing.ways[0] for voice in voices}
    if len(said) == 1 and said <= set(ways):
        number = "one of the same kind is" if len(voices) == 1 else f"{len(voices)} of the same kind are"
        way = said.pop()
        return Decision(way, Evidence("siblings", f"{number} {_WORDS.get(way, way)}"))
    usual = [way for way in ways if way in match.pairing.usual]
    is_matrix = match.source.first.bare and match.target.first.bare and not _is_table(match)
    if said or len(usual) != 1 or is_matrix:
        return is_open
    parts = (match.source.first.main.path[-1], match.target.first.main.path[-1])
    return Decision(usual[0], Evidence("name", f"{parts[0]} -> {parts[1]}"))


def _nearest(match: Match, votes: list[Match]) -> list[Match]:
    """The votes that share most of the way with a match."""
    depths = [common(match.source.address, vote.source.address) for vote in votes]
    return [vote for vote, depth in zip(votes, depths, strict=True) if depth == max(depths)]


def _category(match: Match) -> Category:
    ends = (match.source.first, match.target.first)
    return tuple(
        (len(unit.main.spec.shape), "" if unit.bare else unit.main.path[-1], unit.layer_type, unit.bare)
        for unit in ends
    )


def _is_table(match: Match) -> bool:
    """Say whether both names are those of vectors one below the other, which nobody turns round."""
    return all(
        any(token.concept in TABLES for _, token in family.tokens) for family in (match.source, match.target)
    )


def _is_plain(family: Family) -> bool:
    """Say whether nothing hints at a transposed convolution: no word, no type, no even kernel."""
    shape = sorted(family.first.main.spec.shape)
    spatial = shape[: len(shape) - 2]
    odd = all(size % 2 for size in spatial) or math.prod(spatial) == 1
    words = {token.concept for _, token in family.tokens}
    return odd and not words & _UPWARD and "Transpose" not in family.first.layer_type
