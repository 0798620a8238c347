"""How much two names speak for each other: concepts in common, concepts that exclude each other, and numbers."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ckpt_core.transfer.matching.families import Family, letters
from ckpt_core.transfer.matching.vocabulary import EXCLUSIVE, GENERIC
from ckpt_core.transfer.matching.words import Token, read_segment

__all__ = ["Likeness", "Usage", "likeness", "usage_of"]

PLAIN: Final = 1.0
LITTLE: Final = 0.25
ABBREVIATED: Final = 0.7
UNMATCHED: Final = 0.15
CONFLICT: Final = 1.0
ORDINAL: Final = 1.0
SAME_TEXT: Final = 0.5
SAME_PATH: Final = 1.0
PLACE: Final = 0.5
"""What is within numbered blocks on one side alone is in another place."""

_OWN: Final = 3
_OWN_SHARE: Final = 0.25
"""A word in the names of more families than this, and in more than this share of them, says where one is, not which."""
_COMMON: Final = 0.5
"""A word in more than this share of all names says nothing."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """What two names say about each other.

    Arguments:
        score: the sum, which is compared between candidates.
        telling: the part of it that words of meaning, numbers and equal texts have.
        conflicts: concepts in which they exclude each other.
        misnumbered: whether their numbers differ.
        common: what they have in common, for people.
        own: of each, a word of its own that the other lacks, if it has one.
    """

    score: float
    telling: float
    conflicts: tuple[tuple[str, str], ...]
    misnumbered: bool
    common: tuple[str, ...]
    own: tuple[str | None, str | None]

    @property
    def is_strange(self) -> bool:
        """Whether both have words of their own."""
        return None not in self.own


@dataclass(frozen=True)
class Usage:
    """In how many names of one side a concept is, and how many names there are."""

    counts: Counter[str]
    total: int


def usage_of(families: Iterable[Family]) -> Usage:
    """Count the concepts of one side."""
    counts: Counter[str] = Counter()
    total = 0
    for family in families:
        total += 1
        counts.update({token.concept for _, token in family.tokens})
    return Usage(counts, total)


def likeness(source: Family, target: Family, usages: tuple[Usage, Usage]) -> Likeness:
    """Compare the names of two families.

    Arguments:
        source, target: the families.
        usages: how common each concept is on each side.
    """
    words = _compared(_concepts(source), _concepts(target))
    score = words.score
    common = [
        mine.word if mine.concept == other.concept else f"{mine.word}~{other.word}"
        for mine, other, _ in words.common
    ]
    telling = sum(
        weight for mine, other, weight in words.common if not _says_nothing(mine, other, weight, usages)
    )
    misnumbered = False
    pairs = [(source.ordinal, target.ordinal)] if _counts_alike(source, target) else []
    if len(source.blocks) == len(target.blocks):
        pairs += zip(source.blocks, target.blocks, strict=True)
    for mine_number, other_number in pairs:
        if mine_number is None or other_number is None:
            continue
        if mine_number.count != other_number.count:
            same = mine_number.number == other_number.number and source.pattern[-1] == target.pattern[-1]
            score += ORDINAL / 2 if same else 0.0
        elif mine_number.rank == other_number.rank:
            score, telling = score + ORDINAL, telling + ORDINAL
            common.append(f"{mine_number.rank + 1} of {mine_number.count}")
        else:
            score -= ORDINAL
            misnumbered = True
    if _say_the_same(source, target):
        is_whole = source.first.path == target.first.path and "#" not in source.pattern[-1]
        text = SAME_PATH if is_whole else SAME_TEXT
        score, telling = score + text, telling + text
    if _are_in_other_places(source, target):
        score, telling = score - PLACE, telling - PLACE
    own = (_own_word(words.left[0], usages[0]), _own_word(words.left[1], usages[1]))
    return Likeness(score, telling, words.conflicts, misnumbered, tuple(common), own)


def _say_the_same(source: Family, target: Family) -> bool:
    """Say whether the last parts of two names are one text, and their numbers are not two."""
    ends = [family.pattern[-1] for family in (source, target)]
    if letters(ends[0]) != letters(ends[1]) or not letters(ends[0]):
        return False
    numbers = [read_segment(family.first.path[-1]).numbers[-1:] for family in (source, target)]
    return numbers[0] == numbers[1] or not all(numbers) or bool(source.ordinal or target.ordinal)


def _are_in_other_places(source: Family, target: Family) -> bool:
    """Say whether one of two layers is within numbered blocks; stacks are not told, nor levels that torch numbers."""
    inside = [any("#" in text for text in family.pattern[:-1]) for family in (source, target)]
    return inside[0] != inside[1] and len(source.units) == len(target.units) and not source.first.members


def _counts_alike(source: Family, target: Family) -> bool:
    """Say whether two numberings may follow the same order: `w1, w2` are names, and `Dense_0, Dense_1` calls."""
    stems = [letters(family.pattern[-1]) for family in (source, target)]
    return stems[0] == stems[1] or all(len(stem) != 1 for stem in stems)


def _says_nothing(mine: Token, other: Token, weight: float, usages: tuple[Usage, Usage]) -> bool:
    shares = [
        usage.counts[token.concept] / usage.total for token, usage in zip((mine, other), usages, strict=True)
    ]
    return weight <= LITTLE or min(shares) > _COMMON


def _own_word(tokens: Iterable[Token], usage: Usage) -> str | None:
    """A word that says which weight it is, for few have it."""
    few = max(_OWN, _OWN_SHARE * usage.total)
    own = (token.word for token in tokens if _weight(token) == PLAIN and usage.counts[token.concept] <= few)
    return next(own, None)


def _concepts(family: Family) -> tuple[Token, ...]:
    """The tokens without repetition."""
    return tuple({token.concept: token for _, token in family.tokens}.values())


@dataclass(frozen=True, slots=True)
class _Words:
    score: float
    common: tuple[tuple[Token, Token, float], ...]
    left: tuple[tuple[Token, ...], tuple[Token, ...]]
    conflicts: tuple[tuple[str, str], ...]


@functools.lru_cache(1 << 18)
def _compared(source: tuple[Token, ...], target: tuple[Token, ...]) -> _Words:
    theirs = {token.concept: token for token in target}
    common: list[tuple[Token, Token, float]] = []
    left: list[Token] = []
    for token in source:
        other = theirs.pop(token.concept, None)
        if other is None:
            left.append(token)
        else:
            common.append((token, other, _weight(token)))
    for token in list(left):
        other = next((other for other in theirs.values() if _abbreviates(token, other)), None)
        if other is not None:
            del theirs[other.concept]
            left.remove(token)
            common.append((token, other, ABBREVIATED * min(_weight(token), _weight(other))))
    score = sum(weight for _, _, weight in common) - UNMATCHED * sum(map(_weight, [*left, *theirs.values()]))
    conflicts = tuple(
        (mine.concept, other.concept)
        for mine in left
        for other in theirs.values()
        if _exclude(mine.concept, other.concept)
    )
    return _Words(
        score - CONFLICT * len(conflicts), tuple(common), (tuple(left), tuple(theirs.values())), conflicts
    )


def _weight(token: Token) -> float:
    return LITTLE if token.concept in GENERIC else PLAIN


def _exclude(a: str, b: str) -> bool:
    return any(a in group and b in group for group in EXCLUSIVE)


def _abbreviates(a: Token, b: Token) -> bool:
    """Say whether one word is short for the other: its beginning, or its letters in order; at least one is unknown."""
    if a.known and b.known:
        return False
    short, long = sorted((a.word, b.word), key=len)
    if len(short) < 2 or short[0] != long[0] or len(short) == len(long):
        return False
    if long.startswith(short):
        return True
    letters = iter(long)
    return len(short) >= 3 and all(letter in letters for letter in short)
