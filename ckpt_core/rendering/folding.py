"""Folding: names that differ in numbers alone and have the same said about them share a line, `h.{0..23}`."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from typing import Final

from ckpt_core.rendering.text import clean

__all__ = ["fold_names", "number_ranges"]

_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_LONGEST: Final = 200
_RANGES: Final = 4


def number_ranges(numbers: Iterable[str]) -> str:
    """Return numbers as ranges.

    Example:
        >>> number_ranges(["0", "1", "2", "5"])
        '{0..2,5}'
    """
    ordered = sorted(set(numbers), key=lambda text: (int(text), text))
    runs: list[list[str]] = []
    for text in ordered:
        if runs and int(text) == int(runs[-1][-1]) + 1:
            runs[-1].append(text)
        else:
            runs.append([text])
    shown = [run[0] if len(run) == 1 else f"{run[0]}{'..' if len(run) > 2 else ','}{run[-1]}" for run in runs]
    if len(shown) > _RANGES:
        shown = [*shown[: _RANGES - 1], "...", shown[-1]]
    return f"{{{','.join(shown)}}}"


def fold_names(items: Sequence[tuple[str, Hashable]]) -> list[tuple[str, int, int]]:
    """Fold names that differ in numbers alone and have the same thing said about them.

    Arguments:
        items: (name, what is said about it) pairs.

    Returns:
        (shown name, how many, position of the first) triples, in the order of the first of each.

    Example:
        >>> fold_names([("h/0/w", "gone"), ("h/1/w", "gone"), ("b", "gone")])
        [('h/{0,1}/w', 2, 0), ('b', 1, 2)]
    """
    buckets: dict[Hashable, list[int]] = {}
    for position, (name, said) in enumerate(items):
        between = tuple(_NUMBER.split(name)) if len(name) <= _LONGEST else name
        buckets.setdefault((between, said), []).append(position)
    return [
        (_one_name([items[i][0] for i in members]), len(members), members[0]) for members in buckets.values()
    ]


def _one_name(names: list[str]) -> str:
    first = names[0]
    if len(names) == 1:
        return clean(first)
    numbers = list(zip(*(_NUMBER.findall(name) for name in names), strict=True))
    texts = iter([column[0] if len(set(column)) == 1 else number_ranges(column) for column in numbers])
    return clean(_NUMBER.sub(lambda _: next(texts), first), 160)
