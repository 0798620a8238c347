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
    sources: Sequence[Sequence[Path]],
    targets: Sequence[Sequence[Path]],
    names: tuple[Names, Names],
    *,
    gathers: bool = False,
) -> tuple[list[str], list[str]] | None:
    """Return the patterns of one rule for many lines, which takes what they take and nothing else; None if none does.

    Arguments:
        sources, targets: the paths of each line.
        names: all the names of both sides.
        gathers: whether several lines may have the same paths on one side, to gather or to scatter.
    """
    many = max((sources, targets), key=lambda lines: len({tuple(line) for line in lines if line}))
    columns = _columns([line[0] for line in many])
    if columns is None or len(columns) > len(_CAPTURES):
        return None
    made: list[list[str]] = []
    for lines, side in zip((sources, targets), names, strict=True):
        patterns = []
        for paths in zip(*lines, strict=True):
            captures = _captures(paths, columns)
            if captures is None or (
                not gathers and len({text[1] for text in captures.values()}) < len(columns)
            ):
                return None
            pattern = _pattern(paths[0], captures, side)
            if side.taken(pattern, paths[0]) != {join_name(path) for path in paths}:
                return None
            patterns.append(pattern)
        made.append(patterns)
    return made[0], made[1]


def _columns(paths: Sequence[Path]) -> list[tuple[int, ...]] | None:
    """The numbers that vary, each over all paths; None where more than numbers does, or a number has leading zeros."""
    if len({_NUMBER.sub("#", join_name(path)) for path in paths}) != 1:
        return None
    texts = [[text for segment in path for text in _NUMBER.findall(segment)] for path in paths]
    if any(text != str(int(text)) for line in texts for text in line):
        return None
    return [column for column in zip(*map(_numbers, paths), strict=True) if len(set(column)) > 1]


def _captures(paths: Sequence[Path], columns: list[tuple[int, ...]]) -> dict[int, str] | None:
    """The captures by the place of the number that each stands for."""
    if len({_NUMBER.sub("#", join_name(path)) for path in paths}) != 1:
        return None
    captures: dict[int, str] = {}
    for place, values in enumerate(zip(*map(_numbers, paths), strict=True)):
        if len(set(values)) > 1:
            capture = _shifted(values, columns)
            if capture is None:
                return None
            captures[place] = capture
    return captures


def _shifted(values: Sequence[int], columns: list[tuple[int, ...]]) -> str | None:
    """The capture, counted on where needed, that gives these values."""
    for k, column in enumerate(columns):
        shifts = {value - other for value, other in zip(values, column, strict=True)}
        if len(shifts) == 1:
            shift = shifts.pop()
            return f"{{{_CAPTURES[k]}{shift:+d}}}" if shift else f"{{{_CAPTURES[k]}}}"
    return None


def _numbers(path: Path) -> list[int]:
    return [int(number) for segment in path for number in _NUMBER.findall(segment)]


def _pattern(path: Path, captures: dict[int, str], names: Names) -> str:
    """The pattern of a path, with captures in place of some numbers."""
    text = names.literal(path)
    count = -1

    def put(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return captures.get(count, match[0])

    return _NUMBER.sub(put, text)
