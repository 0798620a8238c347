"""The order of checkpoints: by the counter that all of them have; numbers, not letters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ckpt_core.runs.entry import Entry

__all__ = ["measure_of", "natural", "progress", "sorted_entries"]

_MEASURES: Final = ("step", "epoch", "number")


def measure_of(entries: Sequence[Entry]) -> str:
    """Return the counter by which checkpoints compare: the first of step, epoch and the number in the name that
    every one with a counter has; "time" where there is none.
    """
    counted = [entry for entry in entries if any(_counter(entry, name) is not None for name in _MEASURES)]
    for name in _MEASURES:
        if counted and all(_counter(entry, name) is not None for entry in counted):
            return name
    return "time"


def progress(entry: Entry, measure: str) -> tuple[float, ...]:
    """Return how far a checkpoint is, to be compared; those without the counter come first, by time."""
    first = entry.time if measure == "time" else _counter(entry, measure)
    rest = [_counter(entry, name) for name in _MEASURES]
    values = [-1.0 if value is None else float(value) for value in (first, *rest)]
    return (*values, entry.part, entry.time)


def sorted_entries(entries: Sequence[Entry]) -> list[Entry]:
    """Return checkpoints in the order of training; equal ones by name."""
    measure = measure_of([entry for entry in entries if entry.is_whole] or entries)
    return sorted(entries, key=lambda entry: (_placed(entry, measure, entries), natural(entry.name)))


def _placed(entry: Entry, measure: str, entries: Sequence[Entry]) -> tuple[float, ...]:
    """The progress of a checkpoint; a damaged one, of which only the name tells an epoch, goes behind that epoch."""
    own = progress(entry, measure)
    if own[0] >= 0 or entry.epoch is None:
        return own
    before = [
        _counter(other, measure) or 0.0
        for other in entries
        if other.epoch is not None and other.epoch <= entry.epoch
    ]
    return (max(before) + 0.5, *own[1:]) if before else own


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts names by their numbers: `epoch_9` before `epoch_10`."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part.lower()) for part in parts if part]


def _counter(entry: Entry, name: str) -> float | None:
    value = getattr(entry, name)
    return None if value is None else float(value)
