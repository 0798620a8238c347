"""The rows in which a run is shown to people, for the command line and for notebooks alike."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ckpt_core.runs.entry import Entry

__all__ = ["Row", "columns_of", "figure", "moment", "rows_of", "running_bests"]

_METRICS: Final = 6
_MAIN: Final = {"periodic": 0, "last": 1, "final": 2, "best": 3}


@dataclass(frozen=True)
class Row:
    """One line of a listing: a checkpoint, and the names of the others with the same content."""

    entry: Entry
    copies: tuple[str, ...]
    roles: tuple[str, ...]


def rows_of(entries: Iterable[Entry]) -> list[Row]:
    """Return a row per content: duplicates are shown once, under the first periodic name, and no link if it can be."""
    by_name = {entry.name: entry for entry in entries}
    order = {name: place for place, name in enumerate(by_name)}
    rows = []
    for entry in by_name.values():
        group = [entry, *(by_name[name] for name in entry.same_as if name in by_name)]
        first = min(group, key=lambda e: (_MAIN.get(e.role, 9), os.path.islink(e.path), order[e.name]))
        if entry is not first:
            continue
        copies = tuple(
            f"{other.name} (link)" if other.name in entry.linked else other.name for other in group[1:]
        )
        roles = tuple(
            dict.fromkeys(other.role for other in sorted(group, key=lambda e: _MAIN.get(e.role, 9)))
        )
        rows.append(Row(entry, copies, roles))
    return rows


def columns_of(entries: Sequence[Entry], first: Sequence[str] = ()) -> list[str]:
    """Return the metrics to show: the named ones, then those that most checkpoints have, six at most."""
    counts: dict[str, int] = {}
    for entry in entries:
        for name in entry.metrics:
            counts[name] = counts.get(name, 0) + 1
    common = sorted(counts, key=lambda name: -counts[name])
    return [*first, *(name for name in common if name not in first)][: max(_METRICS, len(first))]


def running_bests(entries: Iterable[Entry]) -> list[tuple[str, float, str]]:
    """Return (name, value, checkpoint) of each running best, as the latest checkpoint that has it says."""
    found: dict[str, tuple[str, float, str]] = {}
    for entry in entries:
        for name, value in entry.running_bests.items():
            found[name] = name, value, entry.name
    return list(found.values())


def figure(entry: Entry, name: str) -> Any:
    """Return a figure as it is shown: one from the name in parentheses."""
    value = entry.metrics.get(name) if name in entry.metrics else getattr(entry, name, None)
    if value is None:
        return ""
    if name == "epoch" and entry.part:
        value = value + entry.part
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"({text})" if entry.sources.get(name) == "name" else text


def moment(entry: Entry) -> str:
    """Return when a checkpoint was saved, in UTC."""
    try:
        return f"{dt.datetime.fromtimestamp(entry.time, dt.timezone.utc):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return ""
