"""Names as concepts: what each segment of a path says, and its numbers."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final

from ckpt_core.transfer.matching.vocabulary import CONCEPTS, LISTS

__all__ = ["Segment", "Token", "read_segment", "singular"]

_PIECE: Final = re.compile(r"\d+[dD](?![a-z])|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_LONGEST: Final = 5
_ONE_WORD: Final = frozenset({"tok"})
"""Spellings of one word alone: `to_k` says key."""
_BEFORE: Final = frozenset({"pre", "post", "before", "after"})


@dataclass(frozen=True, slots=True)
class Token:
    """One thing that a name says: a concept of the vocabulary, or a word of its own.

    Arguments:
        concept: what it means.
        word: how it is spelled there.
        known: whether the vocabulary has it.
    """

    concept: str
    word: str
    known: bool


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a path: what it says, and the numbers in it."""

    tokens: tuple[Token, ...]
    numbers: tuple[int, ...]
    shape: str
    """The text with `#` in place of each number."""


@functools.lru_cache(65536)
def read_segment(text: str) -> Segment:
    """Read one segment of a path.

    Example:
        >>> [token.concept for token in read_segment("self_attn").tokens], read_segment("layers_11").numbers
        (['self', 'attention'], (11,))
    """
    words: list[str] = []
    numbers: list[int] = []
    shape: list[str] = []
    end = 0
    for piece in _PIECE.finditer(text):
        shape.append(text[end : piece.start()])
        end = piece.end()
        if piece[0].isdigit():
            numbers.append(int(piece[0]))
            words.append("")
            shape.append("#")
        else:
            shape.append(piece[0])
            if not piece[0][0].isdigit():
                words.append(piece[0].lower())
    shape.append(text[end:])
    return Segment(tuple(_tokens(words)), tuple(numbers), "".join(shape))


def _tokens(words: list[str]) -> list[Token]:
    """Concepts of the words, longest phrases first; an empty word is a number, which no phrase crosses."""
    found: list[Token] = []
    at = 0
    while at < len(words):
        if not words[at]:
            at += 1
        elif words[at] in _BEFORE and at + 1 < len(words) and words[at + 1]:
            rest = _tokens(words[at + 1 : at + 2])
            side = "post" if words[at] in ("post", "after") else "pre"
            found.append(Token(f"{side}-{rest[0].concept}" if rest else side, words[at], True))
            at += 2
        else:
            length, concepts = _phrase(words[at:])
            spelled = "".join(words[at : at + length])
            if concepts is None:
                found.append(Token(singular(spelled), spelled, False))
            else:
                found += [Token(concept, spelled, True) for concept in concepts]
            at += length
    return found


def _phrase(words: list[str]) -> tuple[int, tuple[str, ...] | None]:
    for length in range(min(_LONGEST, len(words)), 0, -1):
        if all(words[:length]):
            spelled = "".join(words[:length])
            if spelled in LISTS and length == 1:
                return 1, ("layer",)
            if spelled in CONCEPTS and (length == 1 or spelled not in _ONE_WORD):
                return length, CONCEPTS[spelled]
    return 1, None


def singular(word: str) -> str:
    """Return a word without the s of its plural."""
    return word[:-1] if len(word) > 3 and word[-1] == "s" and word[-2] != "s" else word
