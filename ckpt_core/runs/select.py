"""Choosing one checkpoint of a run, and saying which rule chose it."""

from __future__ import annotations

import difflib
import fnmatch
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ckpt_core.errors import CheckpointNotFoundError, UsageError
from ckpt_core.paths import search
from ckpt_core.runs.entry import COMPLETE, Entry
from ckpt_core.runs.metrics import Mode, mode_of, words_of
from ckpt_core.runs.order import measure_of, progress

__all__ = ["Selection", "best_of", "latest_of", "metric_named", "ranked", "select"]

_ROLE_RANK: Final = {"periodic": 3, "last": 2, "final": 1, "best": 0}


@dataclass(frozen=True)
class Selection:
    """A checkpoint and how it was chosen.

    Arguments:
        entry: the checkpoint.
        rule: "path", "prefer", "best" or "latest".
        reason: the rule in words: `val_loss = 0.25 is the lowest of 9`.
        passed_over: why the rules before it chose nothing, and what was newer or better and is damaged.
    """

    entry: Entry
    rule: str
    reason: str
    passed_over: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Where the checkpoint is."""
        return self.entry.path


def select(
    entries: Sequence[Entry],
    *,
    path: str | os.PathLike[str] | None = None,
    prefer: str | Sequence[str] | None = None,
    best: str | None = None,
    mode: str | None = None,
    folder: str = "",
) -> Selection:
    """Choose a checkpoint: by path, else by a preferred name or role, else the best by a metric, else the latest.

    Arguments:
        entries: those of a run.
        path: a path, absolute or relative to one of the usual places or to the run.
        prefer: names, patterns of names (`*_final.pth`) or roles ("best", "final", "last"), the first that is there.
        best: the name of a metric.
        mode: "min" or "max", where the metric's name does not tell.
        folder: the directory of the run.

    Raises:
        CheckpointNotFoundError: no rule chose one.
        UsageError: `best` names a running best, or a metric whose direction is not known.
    """
    passed: list[str] = []
    whole = [entry for entry in entries if entry.is_whole]
    if path is not None:
        entry, problem = _by_path(entries, os.fspath(path), folder)
        if entry is not None and not problem:
            return Selection(entry, "path", "given by its path")
        passed.append(problem)
    for pattern in [prefer] if isinstance(prefer, str) else prefer or ():
        fitting = [entry for entry in whole if _fits(entry, pattern)]
        if fitting:
            return Selection(latest_of(fitting), "prefer", f"preferred: {pattern}", tuple(passed))
        passed.append(f"prefer={pattern!r}: no whole checkpoint of that name or role")
    if best is not None:
        try:
            chosen = ranked(entries, best, mode)[0]
            return Selection(chosen, "best", _best_reason(whole, best, mode, chosen), tuple(passed))
        except CheckpointNotFoundError as error:
            passed.append(f"best={best!r}: {error.reason}")
    if not whole:
        raise CheckpointNotFoundError(
            "holds no whole checkpoint", path=folder or None, remedy="; ".join(passed) or None
        )
    known = [entry for entry in whole if entry.layout is not None] or whole  # before a file of any arrays
    latest = latest_of(known)
    used = {entry.name for entry in known}
    unused = [entry for entry in entries if entry.name not in used]
    return Selection(
        latest, "latest", _latest_reason(known, latest), (*passed, *_newer_and_unused(unused, latest))
    )


def latest_of(entries: Sequence[Entry]) -> Entry:
    """Return the checkpoint that is the farthest in training; of equal ones, one that can be resumed from."""
    measure = measure_of(entries)

    def key(entry: Entry) -> tuple[object, ...]:
        *counters, part, time = progress(entry, measure)
        # a copy under a role's name has no number
        shared = counters[:-1] if measure != "number" else counters
        return (*shared, part, entry.has_optimizer, _ROLE_RANK.get(entry.role, 0), time)

    return max(entries, key=key)


def best_of(entries: Sequence[Entry], metric: str, mode: str | None = None) -> Entry:
    """Return the checkpoint with the best value of a metric; of equal ones, the first in training.

    Raises:
        CheckpointNotFoundError: no whole checkpoint has a finite value; says which metrics there are.
        UsageError: it is a running best, or nothing tells which way is better.
    """
    return ranked(entries, metric, mode)[0]


def ranked(entries: Sequence[Entry], metric: str, mode: str | None = None) -> list[Entry]:
    """Return the checkpoints that have a metric, the best first; raises as `best_of` does."""
    name = metric_named(entries, metric)
    sign = 1 if mode_of(name, mode) == "min" else -1
    valued = [(value, entry) for entry in entries if (value := entry.metric(name)) is not None]
    if not valued:
        said = [e.name for e in entries if name in e.metrics and not math.isfinite(e.metrics[name])]
        what = f"{name} is not finite in {', '.join(said[:4])}" if said else f"no whole checkpoint has {name}"
        raise CheckpointNotFoundError(what)
    order = {entry.name: position for position, entry in enumerate(entries)}

    def key(pair: tuple[float, Entry]) -> tuple[float, int, int]:
        """By value; of equal ones the first in training, under the name with a counter of its own."""
        value, entry = pair
        first = min(order.get(name, len(order)) for name in (entry.name, *entry.same_as))
        return sign * value, first, -_ROLE_RANK.get(entry.role, 0)

    return [entry for _, entry in sorted(valued, key=key)]


def metric_named(entries: Sequence[Entry], metric: str) -> str:
    """Return the name under which a metric was saved: exactly, or by the same words (`val/loss`, `val_loss`).

    Raises:
        CheckpointNotFoundError: there is none; names those there are.
        UsageError: it is a running best, or fits several.
    """
    names = list(dict.fromkeys(name for entry in entries for name in entry.metrics))
    if metric in names:
        return metric
    fitting = [name for name in names if words_of(name) == words_of(metric)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(
            f"the metric {metric!r} fits {' and '.join(fitting)}", remedy="Name one of them exactly."
        )
    running = list(dict.fromkeys(name for entry in entries for name in entry.running_bests))
    if metric in running:
        raise UsageError(
            f"{metric} is the best value so far, not the value of one checkpoint",
            remedy=f"Metrics of single checkpoints: {', '.join(names) or 'none'}.",
        )
    near = difflib.get_close_matches(metric, names, 1)
    known = f"Metrics there are: {', '.join(names)}." if names else "No metrics were saved."
    apart = f" Best values so far: {', '.join(running)}." if running else ""
    raise CheckpointNotFoundError(
        f"no checkpoint has the metric {metric!r}",
        remedy=f"{f'Did you mean {near[0]}? ' if near else ''}{known}{apart}",
    )


def _newer_and_unused(unused: Sequence[Entry], chosen: Entry) -> list[str]:
    """Say which checkpoints would have been newer and are not used."""
    measure = measure_of([*unused, chosen])
    return [
        f"{entry.name}: {_why_not(entry)}"
        for entry in unused
        if progress(entry, measure) > progress(chosen, measure)
    ]


def _why_not(entry: Entry) -> str:
    if entry.state == COMPLETE:
        return "not recognised" if entry.has_weights else "holds no weights"
    return f"{entry.state}{f', {entry.reason}' if entry.reason else ''}"


def _by_path(entries: Sequence[Entry], path: str, folder: str) -> tuple[Entry | None, str]:
    place, places = search(path)
    inside = os.path.join(folder, path)
    place = place or (inside if os.path.lexists(inside) else None)
    if place is None:
        return None, f"path={path!r}: not there; looked at {', '.join([*places, inside])}"
    for entry in entries:
        if os.path.realpath(entry.path) == os.path.realpath(place):
            return entry, "" if entry.is_whole else f"path={path!r}: {_why_not(entry)}"
    return None, f"path={path!r}: is no checkpoint of this run"


def _fits(entry: Entry, pattern: str) -> bool:
    return pattern == entry.role or any(
        fnmatch.fnmatchcase(name, pattern) for name in (entry.name, os.path.basename(entry.name))
    )


def _best_reason(entries: Sequence[Entry], metric: str, mode: str | None, chosen: Entry) -> str:
    name = metric_named(entries, metric)
    way: Mode = mode_of(name, mode)
    count = _count([entry for entry in entries if entry.metric(name) is not None])
    return f"{name} = {chosen.metrics[name]:g} is the {'lowest' if way == 'min' else 'highest'} of {count}"


def _latest_reason(entries: Sequence[Entry], latest: Entry) -> str:
    measure = measure_of(entries)
    if measure == "time":
        has_counters = any((entry.step, entry.epoch, entry.number) != (None, None, None) for entry in entries)
        why = "they have no counter in common" if has_counters else "none has a counter"
        return f"the newest of {_count(entries)} by time; {why}"
    return f"{measure} {getattr(latest, measure)} is the highest of {_count(entries)}"


def _count(entries: Sequence[Entry]) -> int:
    """How many there are, those with the same content counted once."""
    names = {entry.name for entry in entries}
    return sum(entry.name <= min(set(entry.same_as) & names, default=entry.name) for entry in entries)
