"""Which way: where the shapes allow several, what tells a square matrix that is turned round from one that is not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from ckpt_core.transfer.matching.state import Match
from ckpt_core.transfer.matching.structure import common
from ckpt_core.transfer.matching.units import Family
from ckpt_core.transfer.plan import Evidence

__all__ = ["decide"]

_UPWARD: Final = frozenset({"transposed", "up", "decoder"})
_WORDS: Final = {
    "same": "kept",
    "transpose": "turned round",
    "conv": "convolutions",
    "flip": "transposed convolutions",
    "reshape": "reshaped",
}

Category = tuple[object, ...]


def decide(matches: Sequence[Match]) -> dict[int, tuple[str, Evidence] | None]:
    """Return the way of each match by its place, and why; None where nothing tells.

    A type of layer says it, and had a say already in which ways there are. Else siblings of the same kind whose
    shapes leave one way say it, the nearest first, if they agree. Else the names of the parts do: a `kernel` is
    turned round and an `embedding` is not.
    """
    votes: dict[Category, list[Match]] = {}
    for match in matches:
        if len(match.pairing.ways) == 1:
            votes.setdefault(_category(match), []).append(match)
    return {place: _decided(match, votes.get(_category(match), [])) for place, match in enumerate(matches)}


def _decided(match: Match, votes: list[Match]) -> tuple[str, Evidence] | None:
    ways = match.pairing.ways
    if len(ways) == 1:
        return ways[0], Evidence("shape", "only one way fits")
    voices = _nearest(match, votes)
    said = {voice.pairing.ways[0] for voice in voices}
    if len(said) == 1 and said <= set(ways):
        way = said.pop()
        number = "one of the same kind is" if len(voices) == 1 else f"{len(voices)} of the same kind are"
        return way, Evidence("siblings", f"{number} {_WORDS.get(way, way)}")
    if said:
        return None
    usual = [way for way in ways if way in match.pairing.usual]
    if usual == ["conv", "flip"] and _is_plain(match.source) and _is_plain(match.target):
        return "conv", Evidence("name", "nothing says that it is transposed")
    if len(usual) != 1:
        return None
    parts = (match.source.first.main.path[-1], match.target.first.main.path[-1])
    return usual[0], Evidence("name", f"{parts[0]} -> {parts[1]}")


def _nearest(match: Match, votes: list[Match]) -> list[Match]:
    """The votes that share most of the way with a match."""
    depths = [common(match.source.address, vote.source.address) for vote in votes]
    return [vote for vote, depth in zip(votes, depths, strict=True) if depth == max(depths)]


def _category(match: Match) -> Category:
    ends = (match.source.first, match.target.first)
    return tuple((len(unit.main.spec.shape), unit.main.path[-1], unit.layer_type, unit.bare) for unit in ends)


def _is_plain(family: Family) -> bool:
    """Say whether nothing hints at a transposed convolution: no word, no type, no even kernel."""
    shape = sorted(family.first.main.spec.shape)
    spatial = shape[: len(shape) - 2]
    odd = all(size % 2 for size in spatial) or math.prod(spatial) == 1
    words = {token.concept for _, token in family.tokens}
    return odd and not words & _UPWARD and "Transpose" not in family.first.layer_type
