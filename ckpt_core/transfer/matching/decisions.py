"""Which way: where the shapes allow several, what tells a square matrix that is turned round from one that is not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from ckpt_core.transfer.layers import known_layers
from ckpt_core.transfer.matching.alike import are_kept_alike
from ckpt_core.transfer.matching.flattening import flatten_ways, widths_of
from ckpt_core.transfer.matching.rounds import is_as_usual
from ckpt_core.transfer.matching.stacks import along, way_and_axis
from ckpt_core.transfer.matching.state import Match, Search
from ckpt_core.transfer.matching.structure import common
from ckpt_core.transfer.matching.transposed import convolutions_of, is_plain
from ckpt_core.transfer.matching.units import FLAX_WORDS, Unit, core_of
from ckpt_core.transfer.matching.vocabulary import TABLES
from ckpt_core.transfer.matching.ways import BY_HEAD
from ckpt_core.transfer.matching.words import read_segment
from ckpt_core.transfer.plan import Evidence

__all__ = ["Decision", "decide"]

_WEIGHTS: Final = frozenset({"weight", "in_proj_weight"})
_WORDS: Final = {
    "same": "kept",
    "transpose": "turned round",
    "conv": "convolutions",
    "flip": "transposed convolutions",
    "reshape": "reshaped",
    "channels last": "channels put last",
}

Category = tuple[object, ...]
Path = tuple[str, ...]


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
    chosen = [_stacked_along(match, search.matches) for match in search.matches]
    matches = [_along_one_axis(match, axis) for match, axis in zip(search.matches, chosen, strict=True)]
    found = _decided_all(search, matches)
    return [
        _twofold(match) if axis is None else _renamed(decision, axis)
        for match, decision, axis in zip(search.matches, found, chosen, strict=True)
    ]


def _decided_all(search: Search, matches: list[Match]) -> list[Decision]:
    is_translated = search.styles[0] != search.styles[1]
    votes: dict[Category, list[Match]] = {}
    for match in matches:
        if len(match.pairing.ways) == 1 and (is_translated or not (_is_table(match) or _is_relative(match))):
            votes.setdefault(_category(match), []).append(match)
    crossing = set(search.styles) == {"torch", "flax"}
    sides = [_sides(match, search.styles) for match in matches]
    widths = widths_of(search.torch_units, _kernels(matches, search.styles)) if crossing else None
    is_usual = is_as_usual(search)
    convolutions = convolutions_of(zip(matches, (torch for torch, _ in sides), strict=True))
    found = []
    for match, (torch, flax) in zip(matches, sides, strict=True):
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
            plain = is_plain(match, torch, convolutions)
            said = (_said_by_names if is_translated else _said_by_kind)(match, torch, flax, is_usual)
            voices = votes.get(_category(match), []) if is_translated or not _is_table(match) else []
            found.append(_decided(match, voices, said, plain=plain))
    return found


# Axes of stacks.


def _stacked_along(match: Match, matches: list[Match]) -> int | None:
    """The axis that the layers are stacked along: the nearest siblings tell; None where two fit and nothing does."""
    axes = _axes(match)
    if len(axes) > 1:
        stacks = [other for other in matches if other.pairing.across == match.pairing.across]
        said = {
            axis
            for voice in _nearest(match, [s for s in stacks if len(_axes(s)) == 1])
            for axis in _axes(voice)
        }
        axes &= said if len(said) == 1 else axes
    return axes.pop() if len(axes) == 1 else None


def _axes(match: Match) -> set[int]:
    return {way_and_axis(way)[1] for way in match.pairing.ways}


def _along_one_axis(match: Match, axis: int | None) -> Match:
    """The match with the ways of one axis alone, by their own names."""
    ways = [way_and_axis(way) for way in match.pairing.ways]
    kept = tuple(name for name, other in ways if axis is None or other == axis)
    usual = frozenset(way_and_axis(way)[0] for way in match.pairing.usual)
    return replace(match, pairing=replace(match.pairing, ways=tuple(dict.fromkeys(kept)), usual=usual))


def _twofold(match: Match) -> Decision:
    return Decision(
        None,
        open=match.pairing.ways,
        reason="there are as many layers as features: the layers may be stacked along either axis",
        settled_by="The axis of the scan, a rule, or outputs of both models.",
    )


def _renamed(decision: Decision, axis: int) -> Decision:
    way = None if decision.way is None else along(decision.way, axis)
    return replace(decision, way=way, open=tuple(along(name, axis) for name in decision.open))


# Ways of layers.


def _sides(match: Match, styles: tuple[str, str]) -> tuple[Unit, Unit]:
    """One unit of each side, that of torch's first."""
    ends = (match.source.first, match.target.first)
    return ends if styles[0] == "torch" else ends[::-1]


def _kernels(matches: list[Match], styles: tuple[str, str]) -> frozenset[Path]:
    """The paths on torch's side of what is a kernel in Flax."""
    pairs = [pair[:: 1 if styles[0] == "torch" else -1] for match in matches for pair in match.pairing.pairs]
    return frozenset(torch.path for torch, flax in pairs if core_of(flax.main.path)[-1] == "kernel")


def _decided(match: Match, votes: list[Match], named: str | None, *, plain: bool) -> Decision:
    """The way of one match.

    Arguments:
        match: the match.
        votes: those of its kind whose shapes leave one way.
        named: the way that the names of its parts say, where they do.
        plain: whether nothing hints at a transposed convolution.
    """
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
        if plain and set(ways) == {"conv", "flip"}:
            return Decision("conv", Evidence("name", "nothing says that it is transposed"))
        return is_open
    voices = _nearest(match, votes)
    said = {voice.pairing.ways[0] for voice in voices}
    if len(said) == 1 and said <= set(ways):
        number = "one of the same kind is" if len(voices) == 1 else f"{len(voices)} of the same kind are"
        way = said.pop()
        return Decision(way, Evidence("siblings", f"{number} {_WORDS.get(way, way)}"))
    if said or named is None:
        return is_open
    parts = (match.source.first.main.path[-1], match.target.first.main.path[-1])
    return Decision(named, Evidence("name", f"{parts[0]} -> {parts[1]}"))


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


def _said_by_names(match: Match, torch: Unit, flax: Unit, is_usual: bool) -> str | None:
    """The way that the names of the parts say: a weight becomes a kernel, and a table is kept.

    Where other matrices can only go another way than usual, the names of their parts say nothing.
    """
    usual = [way for way in match.pairing.ways if way in match.pairing.usual]
    if is_usual and _is_known(torch) and flax.main.path[-1] in FLAX_WORDS:
        return usual[0] if len(usual) == 1 else None
    return "same" if _is_table(match) and set(match.pairing.ways) == {"same", "transpose"} else None


def _said_by_kind(match: Match, one: Unit, other: Unit, is_usual: bool) -> str | None:
    """The way between two arrays of one framework: kept, unless only one of them is the weight of a layer it knows."""
    return "same" if (is_usual and are_kept_alike(one, other)) or _is_table(match) else None


def _is_table(match: Match) -> bool:
    """Say whether both names end as those of vectors one below the other do, which nobody turns round.

    `mask_token` is one; `token_mixing` and `pos_embed/0` are layers. Tables of relative positions are none of these:
    some have the heads first.
    """
    ends = [read_segment(family.pattern[-1]).tokens for family in (match.source, match.target)]
    return not _is_relative(match) and all(said and said[-1].concept in TABLES for said in ends)


def _is_relative(match: Match) -> bool:
    return any(
        token.concept == "relative" for side in (match.source, match.target) for _, token in side.tokens
    )


def _is_known(torch: Unit) -> bool:
    """Say whether an array in torch is the weight of a layer of the table, as far as its type is known."""
    leaf = torch.main.path[-1]
    if torch.bare or leaf not in _WEIGHTS:
        return False
    return not torch.layer_type or any(torch.layer_type in row.torch for row in known_layers())
