"""Contradictions: lines that send the same block to different places; a minority does not stay settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ckpt_core.transfer.matching.levels import Levels, torn
from ckpt_core.transfer.matching.state import Match, Search

__all__ = ["drop_contradictions"]


def drop_contradictions(search: Search) -> None:
    """Take back the matches that contradict most others in which block goes to which.

    Blocks of one list go to blocks of another one to one. A match that says otherwise than the majority, or one of
    two that say different things with as many voices, is open again.
    """
    levels = Levels(search)
    votes: dict[tuple[str, str, bool, tuple[int, ...]], Counter[tuple[int, ...]]] = {}
    for match in search.matches:
        for key, value in _said(match, levels):
            votes.setdefault(key, Counter())[value] += 1
    if all(len(counts) == 1 for counts in votes.values()):
        return
    kept = []
    for match in search.matches:
        if all(_is_majority(votes[key], value) for key, value in _said(match, levels)):
            kept.append(match)
        else:
            search.sources.append(match.source)
            search.targets.append(match.target)
    search.matches = kept


def _is_majority(counts: Counter[tuple[int, ...]], value: tuple[int, ...]) -> bool:
    return all(counts[value] > count for other, count in counts.items() if other != value)


def _said(
    match: Match, levels: Levels
) -> Iterator[tuple[tuple[str, str, bool, tuple[int, ...]], tuple[int, ...]]]:
    """What a match says about blocks, in both directions; nothing of lists between which it goes to and fro itself."""
    found: dict[tuple[str, str], set[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
    for source, target in () if match.pairing.form or match.pairing.across else match.pairing.pairs:
        for (ours, number), (other, there) in levels.facing(source.path, target.path):
            found.setdefault((ours, other), set()).add((number, there))
    for (ours, other), pairs in found.items():
        for number, there in () if torn(pairs) else pairs:
            yield (ours, other, True, number), there
            yield (ours, other, False, there), number
