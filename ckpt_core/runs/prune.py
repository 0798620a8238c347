"""Pruning: which checkpoints of a run may go, decided first and done only when told to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from ckpt_core.errors import TargetError, UsageError
from ckpt_core.registry import registry
from ckpt_core.rendering.html import note_html, section_html, table_html
from ckpt_core.runs.entry import Entry
from ckpt_core.runs.metrics import direction
from ckpt_core.runs.order import measure_of, sorted_entries
from ckpt_core.runs.reading import disk_size
from ckpt_core.runs.select import latest_of, metric_named, ranked
from ckpt_core.sink import remove_target
from ckpt_core.source import Source

__all__ = ["Pruning", "plan_pruning", "remove"]

_SHOWN: Final = 5


@dataclass(frozen=True)
class Pruning:
    """What pruning keeps, and what it removes.

    Arguments:
        kept: (entry, why it stays), in the order of training.
        removed: what goes, or would go.
        freed: the bytes that this gives back; a file with a hard link that stays gives none.
        done: whether it was done; False for a dry run.
    """

    kept: tuple[tuple[Entry, str], ...]
    removed: tuple[Entry, ...]
    freed: int
    done: bool = False

    def _repr_html_(self) -> str:
        rows = [(entry.name, "kept", why) for entry, why in self.kept]
        rows += [(entry.name, "removed" if self.done else "would be removed", "") for entry in self.removed]
        note = "" if self.done else note_html("a dry run: nothing was removed; yes=True removes")
        return section_html(f"{len(self.removed)} of {len(rows)} checkpoints", table_html((), rows), note)


def plan_pruning(
    entries: Sequence[Entry],
    *,
    keep_last: int | None = None,
    keep_best: int | None = None,
    every: int | None = None,
    metric: str | None = None,
    mode: str | None = None,
) -> Pruning:
    """Decide what stays: whatever any rule keeps.

    Rules hold for each series by itself: the checkpoints of one directory whose names differ in nothing but counters,
    metrics and times. A generator's are one and a discriminator's another, and so are those of two runs.

    Of each series the latest whole checkpoint, the latest that can be resumed from, and the best one by each metric
    whose direction is known (or by `metric` alone, when it is named) stay; and so do the one that a trainer calls its
    best, directories with somebody else's files in them, and everything but whole, numbered, periodic checkpoints.

    Arguments:
        entries: those of a run.
        keep_last: how many of the last ones stay.
        keep_best: how many of the best ones by `metric` stay.
        every: the ones whose epoch (or step, where epochs were not saved) is a multiple of this stay.
        metric, mode: the metric, and which way it is better.

    Raises:
        UsageError: no rule was given, a number is negative, or `keep_best` has no metric to go by.
    """
    _check(keep_last, keep_best, every)
    reasons = {**_said_to_be_best(entries), **_protected(entries)}
    whole = [entry for entry in entries if entry.is_whole]
    metrics = _metrics_to_keep(whole, keep_best, metric)
    series: dict[str, list[Entry]] = {}
    for entry in whole:
        series.setdefault(_series(entry), []).append(entry)
    for members in series.values():
        _keep_latest(members, reasons)
        for name, count in metrics.items():
            _keep_best(members, name, count, mode if name == metric else None, reasons)
        periodic = sorted_entries([entry for entry in members if not _protection(entry)])
        for entry in periodic[max(len(periodic) - (keep_last or 0), 0) :]:
            reasons.setdefault(entry.name, f"one of the last {keep_last}")
        _keep_every(periodic, every, reasons)
    for entry in entries:
        strangers = _strangers(entry) if entry.name not in reasons else ()
        if strangers:
            reasons[entry.name] = f"holds what is no part of it: {', '.join(strangers[:_SHOWN])}"
    ordered = sorted_entries(entries)
    removed = tuple(entry for entry in ordered if entry.name not in reasons)
    kept = tuple((entry, reasons[entry.name]) for entry in ordered if entry.name in reasons)
    return Pruning(kept, removed, _freed(removed))


def _keep_latest(members: Sequence[Entry], reasons: dict[str, str]) -> None:
    reasons.setdefault(latest_of(members).name, "the latest")
    resumable = [entry for entry in members if entry.has_optimizer]
    if resumable:
        reasons.setdefault(latest_of(resumable).name, "the latest that can be resumed from")


def _keep_best(
    members: Sequence[Entry], metric: str, count: int, mode: str | None, reasons: dict[str, str]
) -> None:
    if any(entry.metric(metric) is not None for entry in members):
        for rank, entry in enumerate(ranked(members, metric, mode)[:count], 1):
            reasons.setdefault(
                entry.name, f"the best by {metric}" if rank == 1 else f"number {rank} by {metric}"
            )


def _keep_every(periodic: Sequence[Entry], every: int | None, reasons: dict[str, str]) -> None:
    measure = "epoch" if all(entry.epoch is not None for entry in periodic) else measure_of(periodic)
    for entry in periodic if every and measure != "time" else ():
        if getattr(entry, measure) % every == 0:
            reasons.setdefault(entry.name, f"each {every}th {measure}")


def remove(pruning: Pruning, folder: str) -> Pruning:
    """Remove what a pruning names, the oldest first, each at once as a whole.

    Raises:
        TargetError: a checkpoint changed since it was listed, or the system refuses; what was removed before
            stays removed.
    """
    root = os.path.realpath(folder)
    for entry in pruning.removed:
        if os.path.commonpath([root, os.path.realpath(entry.path)]) != root:
            raise TargetError("lies outside of the run", path=entry.path)
        if disk_size(entry.path)[0] != entry.size:
            raise TargetError("changed since it was listed", path=entry.path, remedy="List the run again.")
        remove_target(entry.path)
    return Pruning(pruning.kept, pruning.removed, pruning.freed, done=True)


def _series(entry: Entry) -> str:
    """What checkpoints have in common that replace one another; a number that may be no counter tells them apart."""
    return entry.named.series if _is_counted(entry) else entry.name


def _is_counted(entry: Entry) -> bool:
    """Say whether the number in a name is a counter: by the word before it, or because the inside says the same."""
    named = entry.named
    inside = [getattr(entry, name) for name in ("step", "epoch") if entry.sources.get(name) == "inside"]
    number = named.step if named.number is None else named.number
    return named.is_sure or number in inside or number in [value + 1 for value in inside]


def _protected(entries: Sequence[Entry]) -> dict[str, str]:
    """Why checkpoints stay whatever the rules say, by name."""
    targets = {os.path.realpath(entry.path) for entry in entries if os.path.islink(entry.path)}
    folders = {str(above) for entry in entries for above in PurePath(entry.name).parents}  # "." among them
    reasons = {}
    for entry in entries:
        reason = _protection(entry)
        if not reason and os.path.realpath(entry.path) in targets:
            reason = "a link leads to it"
        if not reason and entry.name in folders:
            reason = "other checkpoints lie in it"
        if not reason and _is_outside(entry):
            reason = "a link leads out of the run to it"
        if reason:
            reasons[entry.name] = reason
    return reasons


def _said_to_be_best(entries: Sequence[Entry]) -> dict[str, str]:
    """The checkpoints that the latest one of their directory calls the best, in its trainer's own words."""
    saying: dict[PurePath, list[Entry]] = {}
    for entry in entries:
        if entry.is_whole and entry.best_said:
            saying.setdefault(PurePath(entry.name).parent, []).append(entry)
    latest = {folder: latest_of(members) for folder, members in saying.items()}
    return {str(folder / entry.best_said): f"the best, says {entry.name}" for folder, entry in latest.items()}


def _strangers(entry: Entry) -> tuple[str, ...]:
    """What lies in the directory of a checkpoint and is nothing of its format."""
    if entry.format is None or not os.path.isdir(entry.path):
        return ()
    with Source(entry.path) as source:
        return registry().foreign(entry.format, source)


def _is_outside(entry: Entry) -> bool:
    root = os.path.realpath(entry.path if entry.name == "." else entry.path.removesuffix(entry.name))
    return os.path.commonpath([root, os.path.realpath(entry.path)]) != root


def _protection(entry: Entry) -> str:
    """Why a checkpoint stays whatever the rules say, as far as it tells itself; "" for one that they decide on."""
    if entry.state != "complete":
        return f"{entry.state}: look at it first"
    if not entry.has_weights:
        return "holds no weights"
    if entry.layout is None:
        return "not recognised"
    if entry.role != "periodic":
        return f"{entry.role}, by its name"
    if entry.named.is_part:
        return "a part of a checkpoint in several files"
    if (entry.epoch, entry.step, entry.number) == (None, None, None):
        return "no counter inside or in its name"
    if not _is_counted(entry):
        return "the number in its name may be no counter"
    return "a link" if os.path.islink(entry.path) else ""


def _metrics_to_keep(whole: Sequence[Entry], keep_best: int | None, metric: str | None) -> dict[str, int]:
    """How many of the best stay, by metric."""
    if metric is not None:
        return {metric_named(whole, metric): max(keep_best or 1, 1)}
    names = list(dict.fromkeys(name for entry in whole for name in entry.metrics))
    known = [name for name in names if direction(name) and any(e.metric(name) is not None for e in whole)]
    if keep_best:
        if len(known) != 1:
            there = f"Metrics there are: {', '.join(names)}." if names else "No metrics were saved."
            raise UsageError(
                "keep_best needs to know by which metric", remedy=f"Pass metric= (--metric). {there}"
            )
        return {known[0]: keep_best}
    return dict.fromkeys(known, 1)


def _check(keep_last: int | None, keep_best: int | None, every: int | None) -> None:
    given = {"keep_last": keep_last, "keep_best": keep_best, "every": every}
    if all(value is None for value in given.values()):
        raise UsageError(
            "no rule says what to keep", remedy="Pass keep_last=, keep_best= or every= (--keep-last 3, ...)."
        )
    for name, value in given.items():
        if value is not None and value < (1 if name == "every" else 0):
            raise UsageError(f"{name}={value} is no number of checkpoints")


def _freed(removed: Sequence[Entry]) -> int:
    names = {entry.name for entry in removed}
    files: dict[str, int] = {}
    for entry in removed:
        if set(entry.linked) <= names:
            files[min([entry.name, *entry.linked])] = entry.size
    return sum(files.values())
