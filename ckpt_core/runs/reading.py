"""Reading one checkpoint for a listing: its structure alone, inside first, then its name."""

from __future__ import annotations

import datetime as dt
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import CheckpointError, DamagedFileError, UnknownFormatError
from ckpt_core.layouts.values import is_scalar, number
from ckpt_core.opening import open_checkpoint
from ckpt_core.runs.entry import DAMAGED, UNFINISHED, UNREADABLE, Entry
from ckpt_core.runs.metrics import is_running_best
from ckpt_core.runs.names import NameFacts, facts_of_name
from ckpt_core.runs.scan import Found, has_checkpoint_name, sounds_like_checkpoint
from ckpt_core.schema import Checkpoint
from ckpt_core.tree import flatten, get

__all__ = ["disk_size", "numbers_of", "read_entry"]


def read_entry(found: Found) -> Entry | None:
    """Return what is known about a checkpoint; None for a file that turns out to be something else."""
    named = facts_of_name(os.path.basename(found.path) if found.name == "." else found.name)
    size, changed = disk_size(found.path)
    basis = Entry(
        found.path,
        found.name,
        size=size,
        time=changed if named.time is None else named.time,
        step=named.step,
        epoch=named.epoch,
        number=named.number,
        metrics={name: value for name, value in named.metrics.items() if not is_running_best(name)},
        running_bests={name: value for name, value in named.metrics.items() if is_running_best(name)},
        role=named.role,
        comment=named.comment,
        named=named,
        sources=_name_sources(named),
    )
    if found.unfinished:
        return replace(basis, state=UNFINISHED, reason=found.unfinished)
    try:
        with open_checkpoint(found.path) as ckpt:
            entry = _inside(basis, ckpt)
            broken = "; ".join(f"{name} {reason}" for name, reason in ckpt.broken.items())
    except CheckpointError as error:
        is_damaged = isinstance(error, (DamagedFileError, UnknownFormatError))
        if isinstance(error, UnknownFormatError) and not has_checkpoint_name(os.path.basename(found.path)):
            return None
        if (
            is_damaged
            and not os.path.isdir(found.path)
            and not sounds_like_checkpoint(os.path.basename(found.path))
        ):
            return None  # something else, whose first bytes are those of a checkpoint
        return replace(basis, state=DAMAGED if is_damaged else UNREADABLE, reason=error.reason)
    if broken:
        return replace(entry, state=DAMAGED, reason=broken)
    is_checkpoint = entry.has_weights or entry.has_optimizer or entry.layout is not None
    return entry if is_checkpoint else None


def _inside(basis: Entry, ckpt: Checkpoint) -> Entry:
    """The entry with what the file says of itself in place of what its name says."""
    sources = dict(basis.sources)
    found: dict[str, Any] = {}
    for counter, value in (("step", ckpt.step), ("epoch", ckpt.epoch)):
        if value is not None and value >= 0:  # -1 is how trainers say that there is none
            found[counter], sources[counter] = value, "inside"
    saved = _seconds(ckpt.timestamp)
    if saved is not None:
        found["time"], sources["time"] = saved, "inside"
    inside = numbers_of(ckpt.metrics, ckpt.epoch)
    sources.update(dict.fromkeys(inside, "inside"))
    metrics = {**basis.metrics, **{k: v for k, v in inside.items() if not is_running_best(k)}}
    bests = {**basis.running_bests, **{k: v for k, v in inside.items() if is_running_best(k)}}
    return replace(
        basis,
        format=ckpt.format,
        layout=ckpt.layout,
        part=_part(ckpt),
        progress=ckpt.roles.progress,
        best_said=os.path.basename(ckpt.roles.best.rstrip("/")),
        metrics=metrics,
        running_bests=bests,
        config=ckpt.config,
        has_weights=_has_weights(ckpt),
        has_optimizer=bool(ckpt.roles.opt_states),
        sources=sources,
        **found,
    )


def _has_weights(ckpt: Checkpoint) -> bool:
    """Whether it has weights; where nothing was recognised, whether there is any array."""
    if ckpt.layout is not None:
        return bool(ckpt.roles.params)
    return any(isinstance(leaf, LazyArray) and leaf.ndim for _, leaf in flatten(ckpt.tree))


def numbers_of(metrics: Mapping[str, Any], epoch: int | None = None) -> dict[str, float]:
    """Return the numbers among metrics, nested ones by names joined with `/`.

    Of a list with a number for each epoch so far it is the last one; other lists are left out.

    Arguments:
        metrics: numbers, lists of them, and mappings with such.
        epoch: the epoch that was saved with them.
    """
    found: dict[str, float] = {}
    stack: list[tuple[str, Any]] = [(str(key), value) for key, value in reversed(list(metrics.items()))]
    while stack:
        name, value = stack.pop()
        if isinstance(value, Mapping):
            stack.extend((f"{name}/{key}", child) for key, child in reversed(list(value.items())))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[name] = float(value) if isinstance(value, float) else value
        elif isinstance(value, (list, tuple)) and value and _has_one_for_each(value, epoch):
            found[name] = number(value[-1])
    return found


def _has_one_for_each(values: Sequence[Any], epoch: int | None) -> bool:
    """Say whether there is a number for each epoch so far, whether these are counted from zero or from one."""
    return epoch is not None and len(values) in (epoch, epoch + 1) and all(map(is_scalar, values))


def _part(ckpt: Checkpoint) -> float:
    """How much of the next epoch is done, where a trainer counts epochs in fractions."""
    if ckpt.roles.epoch is None:
        return 0.0
    value = number(get(ckpt.tree, ckpt.roles.epoch))
    return value - math.floor(value) if isinstance(value, float) and math.isfinite(value) else 0.0


def _seconds(timestamp: Any) -> float | None:
    if isinstance(timestamp, (int, float)) and not isinstance(timestamp, bool) and 1e8 < timestamp < 1e14:
        return float(timestamp if timestamp < 1e11 else timestamp / 1000)
    if isinstance(timestamp, str):
        try:
            return dt.datetime.fromisoformat(timestamp.strip()).timestamp()
        except (ValueError, OverflowError, OSError):
            return None
    return None


def _name_sources(named: NameFacts) -> dict[str, str]:
    told = {"step": named.step, "epoch": named.epoch, "time": named.time}
    sources = {figure: "name" for figure, value in told.items() if value is not None}
    return {"time": "disk", **sources, **dict.fromkeys(named.metrics, "name")}


def disk_size(path: str) -> tuple[int, float]:
    """Return the bytes of a file, or of a directory's files, and when the newest of them changed."""
    try:
        if not os.path.isdir(path):
            status = os.stat(path)
            return status.st_size, status.st_mtime
    except OSError:
        try:
            status = os.lstat(path)
        except OSError:
            return 0, 0.0
        return 0, status.st_mtime
    total, newest = 0, 0.0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                status = os.lstat(os.path.join(folder, name))
            except OSError:  # removed meanwhile
                continue
            total += status.st_size
            newest = max(newest, status.st_mtime)
    return total, newest or os.stat(path).st_mtime
