"""Patterns of names: `transformer.h.{i}.attn.weight`, matched against names and filled in from captures.

    {i}     a number; `{i+1}` and `{i-1}` stand for one that is larger or smaller
    {x*}    text within a segment
    {x**}   one or more whole segments

Segments are joined by `/`, or by `.` in a pattern that holds no `/`. A backslash takes the next character as it is.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from ckpt_core.errors import UsageError

__all__ = ["Capture", "Pattern", "literal", "parse_pattern"]

_TOKEN: Final = re.compile(
    r"\\(?P<escaped>.)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<shift>[+-]\d+)|(?P<stars>\*\*?))?\}|(?P<char>.)",
    re.DOTALL,
)
_SEGMENT: Final = r"(?:\\/|[^/])+"


class Capture(NamedTuple):
    """A place in a pattern: its name, what is added to its number, and its kind ("", "*" or "**")."""

    name: str
    shift: int
    stars: str

    def __str__(self) -> str:
        return f"{{{self.name}{self.shift:+d}}}" if self.shift else f"{{{self.name}{self.stars}}}"


@dataclass(frozen=True)
class Pattern:
    """A parsed pattern: text and captures in turn."""

    text: str
    parts: tuple[str | Capture, ...]

    @property
    def captures(self) -> frozenset[str]:
        """The names of its captures."""
        return frozenset(part.name for part in self.parts if isinstance(part, Capture))

    def match(self, name: str) -> dict[str, str] | None:
        """Return what the captures hold in a name (joined by `/`), or None where it does not fit."""
        found = self._regex.fullmatch(name)
        if found is None:
            return None
        values: dict[str, str] = {}
        for group, part in enumerate(self._places, 1):
            value = found[group]
            if part.shift:
                value = str(int(value) - part.shift)
            if values.setdefault(part.name, value) != value or value.startswith("-"):
                return None
        return values

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the name (joined by `/`) with the captures' values in their places."""
        words = []
        for part in self.parts:
            if isinstance(part, str):
                words.append(part)
            else:
                value = values[part.name]
                words.append(str(int(value) + part.shift) if part.shift else value)
        return "".join(words)

    def below(self, prefix: tuple[str, ...]) -> str:
        """Return the text of the same pattern below some segments."""
        if not prefix:
            return self.text
        parts = [re.sub(r"\\(?!/)|[{}]", r"\\\g<0>", p) if isinstance(p, str) else str(p) for p in self.parts]
        return f"{literal(prefix) if len(prefix) > 1 else _segment(prefix[0])}/{''.join(parts)}"

    @functools.cached_property
    def skeleton(self) -> str | None:
        """What is left of every name that it fits without the numbers (as `#`); None where text is captured."""
        if any(part.stars for part in self._places):
            return None
        words = [part if isinstance(part, str) else "0" for part in self.parts]
        return re.sub(r"\d+", "#", "".join(words))

    @functools.cached_property
    def _places(self) -> tuple[Capture, ...]:
        return tuple(part for part in self.parts if isinstance(part, Capture))

    @functools.cached_property
    def _regex(self) -> re.Pattern[str]:
        kinds = {"": r"(\d+)", "*": f"({_SEGMENT}?)", "**": f"({_SEGMENT}(?:/{_SEGMENT})*?)"}
        return re.compile(
            "".join(re.escape(part) if isinstance(part, str) else kinds[part.stars] for part in self.parts),
            re.DOTALL,
        )


@functools.lru_cache(65536)
def parse_pattern(text: str) -> Pattern:
    """Parse a pattern.

    Raises:
        UsageError: a brace is open, a capture has no name, or one capture has two kinds.

    Example:
        >>> parse_pattern("layers.{i}.weight").match("layers/3/weight")
        {'i': '3'}
        >>> parse_pattern("blocks_{i+1}/kernel").fill({"i": "3"})
        'blocks_4/kernel'
    """
    tokens = list(_TOKEN.finditer(text))
    separator = "/" if any(token["char"] == "/" for token in tokens) else "."
    parts: list[str | Capture] = []
    kinds: dict[str, str] = {}
    for token in tokens:
        name, char = token["name"], token["char"]
        if name:
            capture = Capture(name, int(token["shift"] or 0), token["stars"] or "")
            if kinds.setdefault(name, capture.stars) != capture.stars:
                raise UsageError(f"the pattern {text!r} has {name} as two kinds of capture")
            parts.append(capture)
            continue
        if char in ("{", "}"):
            raise UsageError(
                f"the pattern {text!r} has a brace that holds no capture",
                remedy=r"A capture is {i}, {i+1}, {x*} or {x**}; a brace that belongs to a name is written \{.",
            )
        piece = "/" if char == separator else char if char is not None else _escaped(token["escaped"])
        if parts and isinstance(parts[-1], str):
            parts[-1] += piece
        else:
            parts.append(piece)
    return Pattern(text, tuple(parts))


def _escaped(char: str) -> str:
    return "\\/" if char == "/" else char


def literal(segments: tuple[str, ...], *, dotted: bool = False) -> str:
    """Return the pattern of one name.

    Arguments:
        segments: the name.
        dotted: join by `.`, as torch does, where that reads back as the same.

    Example:
        >>> literal(("encoder", "0", "weight"), dotted=True)
        'encoder.0.weight'
    """
    if (dotted or len(segments) == 1) and not any("/" in segment for segment in segments):
        return ".".join(_segment(segment).replace(".", "\\.") for segment in segments)
    return "/".join(map(_segment, segments))


def _segment(text: str) -> str:
    return re.sub(r"[\\{}]", r"\\\g<0>", text).replace("/", "\\/")
