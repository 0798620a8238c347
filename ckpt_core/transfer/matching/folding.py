"""Folding: many lines that differ by numbers alone as one rule with captures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from ckpt_core.keypath import join_name
from ckpt_core.transfer.patterns import literal, parse_pattern

__all__ = ["Names", "folded"]

Path = tuple[str, ...]

_NUMBER: Final = re.compile(r"\d+")
_CAPTURES: Final = "ijklmnop"


class Names:
    """The names of one side, to tell what a pattern would take."""

    def __init__(self, paths: Iterable[Path], *, dotted: bool) -> None:
        self.dotted = dotted
        self._by_shape: dict[str, list[str]] = {}
        for path in paths:
            name = join_name(path)
            self._by_shape.setdefault(_NUMBER.sub("#", name), []).append(name)

    def literal(self, path: Path) -> str:
        """Return the pattern of one name."""
        return literal(path, dotted=self.dotted)

    def taken(self, pattern: str, example: Path) -> set[str]:
        """Return the names that a pattern takes; they look like the example but for numbers."""
        parsed = parse_pattern(pattern)
        alike = self._by_shape.get(_NUMBER.sub("#", join_name(example)), [])
        return {name for name in alike if parsed.match(name) is not None}


def folded(
    sources: Sequence[Path], targets: Sequence[Path], names: tuple[Names, Names]
) -> tuple[str, str] | None:
    """Return the patterns of one rule that takes each source to its target and nothing else; None if there are none.

    Arguments:
        sources, targets: paths in pairs; or many on one side and one on the other, to gather or scatter.
        names: all the names of both sides.
    """
    places = _varying(sources)
    if places is None or len(places) > len(_CAPTURES):
        return None
    columns = [[_numbers(path)[place] for path in sources] for place in places]
    theirs = _varying(targets)
    if theirs is None:
        return None
    made = [_pattern(sources[0], {place: f"{{{_CAPTURES[k]}}}" for k, place in enumerate(places)}, names[0])]
    if len(sources) == len(targets):
        captures: dict[int, str] = {}
        for place in theirs:
            values = [_numbers(path)[place] for path in targets]
            capture = _shifted(values, columns)
            if capture is None:
                return None
            captures[place] = capture
        if len({text[1] for text in captures.values()}) != len(places):
            return None
        made.append(_pattern(targets[0], captures, names[1]))
    else:
        made.append(
            _pattern(
                targets[0], {place: f"{{{_CAPTURES[-1 - k]}}}" for k, place in enumerate(theirs)}, names[1]
            )
        )
    for pattern, paths, side in zip(made, (sources, targets), names, strict=True):
        if side.taken(pattern, paths[0]) != {join_name(path) for path in paths}:
            return None
    return made[0], made[1]


def _shifted(values: list[int], columns: list[list[int]]) -> str | None:
    """The capture, counted on where needed, that gives these values."""
    for k, column in enumerate(columns):
        shifts = {value - other for value, other in zip(values, column, strict=True)}
        if len(shifts) == 1:
            shift = shifts.pop()
            return f"{{{_CAPTURES[k]}{shift:+d}}}" if shift else f"{{{_CAPTURES[k]}}}"
    return None


def _numbers(path: Path) -> list[int]:
    return [int(number) for segment in path for number in _NUMBER.findall(segment)]


def _varying(paths: Sequence[Path]) -> list[int] | None:
    """The places of the numbers that vary; None where more than numbers does, or a number has leading zeros."""
    if len({_NUMBER.sub("#", join_name(path)) for path in paths}) != 1:
        return None
    columns = list(zip(*map(_numbers, paths), strict=True))
    varying = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    texts = [[t for segment in path for t in _NUMBER.findall(segment)] for path in paths]
    if any(text[place] != str(int(text[place])) for text in texts for place in varying):
        return None
    return varying


def _pattern(path: Path, captures: dict[int, str], names: Names) -> str:
    """The pattern of a path, with captures in place of some numbers."""
    text = names.literal(path)
    count = -1

    def put(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return captures.get(count, match[0])

    return _NUMBER.sub(put, text)
