"""Contradictions: lines that send the same block to different places; a minority does not stay settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ckpt_core.transfer.matching.state import Match, Search
from ckpt_core.transfer.matching.units import Unit
from ckpt_core.transfer.matching.words import read_segment

__all__ = ["drop_contradictions"]

Block = tuple[str, tuple[int, ...]]


def drop_contradictions(search: Search) -> None:
    """Take back the matches that contradict most others in which block goes to which.

    Blocks of one list go to blocks of another one to one. A match that says otherwise than the majority, or one of
    two that say different things with as many voices, is open again.
    """
    votes: dict[tuple[str, str, bool, tuple[int, ...]], Counter[tuple[int, ...]]] = {}
    for match in search.matches:
        for key, value in _said(match):
            votes.setdefault(key, Counter())[value] += 1
    if all(len(counts) == 1 for counts in votes.values()):
        return
    kept = []
    for match in search.matches:
        if all(_is_majority(votes[key], value) for key, value in _said(match)):
            kept.append(match)
        else:
            search.sources.append(match.source)
            search.targets.append(match.target)
    search.matches = kept


def _is_majority(counts: Counter[tuple[int, ...]], value: tuple[int, ...]) -> bool:
    return all(counts[value] > count for other, count in counts.items() if other != value)


def _said(match: Match) -> Iterator[tuple[tuple[str, str, bool, tuple[int, ...]], tuple[int, ...]]]:
    """What a match says about blocks, in both directions."""
    for source, target in () if match.pairing.form or match.pairing.across else match.pairing.pairs:
        mine, theirs = _blocks(source), _blocks(target)
        if len(mine) == len(theirs):
            pairs = list(zip(mine, theirs, strict=True))
        else:
            pairs = [(mine[-1], theirs[-1])] if mine and theirs else []
        for (ours, number), (other, there) in pairs:
            yield (ours, other, True, number), there
            yield (ours, other, False, there), number


def _blocks(unit: Unit) -> list[Block]:
    """The numbered blocks around a unit, outermost first: the list that each is in, and the numbers up to it."""
    found: list[Block] = []
    shapes: list[str] = []
    numbers: list[int] = []
    for text in unit.path[:-1]:
        segment = read_segment(text)
        shapes.append(segment.shape)
        if segment.numbers:
            numbers += segment.numbers
            found.append(("/".join(shapes), tuple(numbers)))
    return found
