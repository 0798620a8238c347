"""plan_resume: from the four flags and a run to what to load and where to go on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ckpt_core.config import ConfigDrift, config_drift
from ckpt_core.errors import CheckpointError, CheckpointNotFoundError, DamagedFileError, UsageError
from ckpt_core.opening import open_checkpoint
from ckpt_core.paths import found
from ckpt_core.runs.counting import Counting, counting_of, epochs_in, steps_per_epoch_of
from ckpt_core.runs.entry import Entry
from ckpt_core.runs.order import measure_of, progress
from ckpt_core.runs.plan import ResumePlan
from ckpt_core.runs.reading import read_entry
from ckpt_core.runs.run import Run
from ckpt_core.runs.scan import Found, is_one_checkpoint, unfinished_reason
from ckpt_core.runs.schedule import schedule_end, schedule_steps
from ckpt_core.runs.select import latest_of
from ckpt_core.runs.truth import rule_for

__all__ = ["plan_resume"]

FLAGS: Final = ("resume", "fresh_start", "auto_resume", "list_checkpoints", "model_path", "comment")
"""The names of the flags themselves, which are no hyperparameters."""


@dataclass(frozen=True)
class _Aim:
    """What the caller says about the run to come."""

    target: int | None
    config: Any
    first_epoch: int | None
    steps_per_epoch: int | None


def plan_resume(
    run: Run | str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    fresh_start: bool = False,
    auto_resume: bool = False,
    model_path: str | os.PathLike[str] | None = None,
    epochs: int | None = None,
    config: Any = None,
    first_epoch: int | None = None,
    steps_per_epoch: int | None = None,
) -> ResumePlan:
    """Decide what a training script loads and where it goes on; the truth table is in `docs/runs.md`.

    Arguments:
        run: the run, or its directory; needed by `auto_resume`.
        resume: go on from the checkpoint at `model_path`, optimizer and counters included.
        fresh_start: start anew.
        auto_resume: go on from the newest whole checkpoint of the run; where there is none, start.
        model_path: a checkpoint; of a directory of them, the latest. Alone: its weights only.
        epochs: how many epochs there are to be; by default those of `config`, else those that were saved.
        config: the hyperparameters of now, for comparison with the saved ones.
        first_epoch: the number of the first epoch, 0 or 1, where the script knows it.
        steps_per_epoch: optimizer steps per epoch, likewise.

    Returns:
        What to load, from where to go on, what remains, and what differs.

    Raises:
        UsageError: the combination is refused; the checkpoint has weights alone and cannot be resumed from; it says
            neither epoch nor step.
        CheckpointNotFoundError: there is nothing at `model_path`; says where it looked.
        DamagedFileError: what is there is damaged.

    Example:
        >>> plan_resume(fresh_start=True, epochs=10, first_epoch=0).epochs
        range(0, 10)
    """
    rule = rule_for(
        resume=resume, fresh_start=fresh_start, auto_resume=auto_resume, model_path=model_path is not None
    )
    aim = _Aim(epochs if epochs is not None else _epochs_of(config), config, first_epoch, steps_per_epoch)
    if isinstance(run, (str, os.PathLike)):
        run = Run(run)
    if rule.outcome == "fresh":
        return _fresh(aim, "nothing else was asked for" if not fresh_start else "as told")
    notes: tuple[str, ...] = ()
    if rule.outcome.startswith("auto"):
        if run is None:
            raise UsageError(
                "auto_resume needs the run to look in", remedy="Pass run=, the directory of the run."
            )
        newest, notes = _newest(run)
        if newest is not None:
            chosen = f"the newest whole checkpoint of {run.path} that can be resumed"
            return _resumed(newest, run.entries, aim, chosen, notes)
        if rule.outcome == "auto":
            return replace(_fresh(aim, f"nothing in {run.path} can be resumed"), notes=notes)
    assert model_path is not None
    if rule.outcome == "resume":
        entry, others, chosen, notes = _named_to_resume(model_path)
        return _resumed(entry, others if run is None else run.entries, aim, chosen, notes)
    entry, _, chosen = _named(model_path)
    return _weights(entry, aim, chosen, notes)


# The three actions.


def _fresh(aim: _Aim, chosen: str) -> ResumePlan:
    first = 1 if aim.first_epoch is None else aim.first_epoch
    return ResumePlan("fresh", epoch=first, first_epoch=first, target=aim.target, chosen=chosen)


def _weights(entry: Entry, aim: _Aim, chosen: str, notes: tuple[str, ...]) -> ResumePlan:
    if not entry.has_weights:
        raise UsageError("holds no weights", path=entry.path)
    plan = replace(_fresh(aim, chosen), action="weights", path=entry.path, entry=entry)
    return replace(plan, notes=notes, drift=_drift(entry, aim.config))


def _resumed(
    entry: Entry, others: Sequence[Entry], aim: _Aim, chosen: str, notes: tuple[str, ...]
) -> ResumePlan:
    if not entry.has_optimizer:
        raise UsageError(
            "holds weights alone: it can start a run, and cannot resume one",
            path=entry.path,
            remedy="Start from it: a model path without resume (--model_path alone), with a fresh optimizer.",
        )
    with open_checkpoint(entry.path) as ckpt:
        entry = _with_step(entry, ckpt)
        ending, scheduled = schedule_end(ckpt), schedule_steps(ckpt)
    others = [other for other in others if other.is_whole and other.path != entry.path]
    counting = counting_of(
        entry,
        others,
        first_epoch=aim.first_epoch,
        steps_per_epoch=aim.steps_per_epoch,
        scheduled=scheduled,
    )
    target = epochs_in(entry.config) if aim.target is None else aim.target
    if counting.is_assumed and target is not None and counting.done is not None:
        notes = (*notes, f"{counting.reason} (first_epoch= says it)")
    return ResumePlan(
        "resume",
        entry.path,
        entry,
        epoch=counting.next_epoch,
        batch=counting.batch,
        step=entry.steps_done or _steps_done(counting, entry, others, aim),
        first_epoch=counting.first,
        epochs_done=counting.done,
        target=target,
        drift=_drift(entry, aim.config),
        chosen=chosen,
        notes=notes,
        warnings=_extending(entry, aim, ending),
    )


def _with_step(entry: Entry, ckpt: Any) -> Entry:
    """The entry with the optimizer's own count of steps where the file has no other counter.

    Raises:
        UsageError: there is none either.
    """
    if entry.step is None:
        counts = [state.step for state in ckpt.opt_states.values() if state.step is not None]
        if counts:
            return replace(entry, step=max(counts), sources={**entry.sources, "step": "optimizer"})
    if entry.epoch is None and entry.step is None:
        raise UsageError(
            "says neither epoch nor step: where to go on is not known",
            path=entry.path,
            remedy="Start from it instead: a model path without resume (--model_path alone).",
        )
    return entry


def _steps_done(counting: Counting, entry: Entry, others: Sequence[Entry], aim: _Aim) -> int:
    steps = aim.steps_per_epoch or steps_per_epoch_of([entry, *others])
    return counting.done * steps + counting.batch if steps and counting.done is not None else 0


# What there is.


def _newest(run: Run) -> tuple[Entry | None, tuple[str, ...]]:
    """The newest checkpoint that can be resumed from, and what is newer and cannot."""
    usable = [entry for entry in run.entries if entry.is_whole and entry.has_optimizer]
    if not usable:
        notes = [f"{entry.name}: {_why_not(entry)}" for entry in run.entries]
        return None, tuple(notes[-5:])
    newest = latest_of(usable)
    names = {*newest.same_as, *(entry.name for entry in usable)}
    rest = [entry for entry in run.entries if entry.name not in names]
    measure = measure_of([*rest, newest])
    newer = [entry for entry in rest if progress(entry, measure) > progress(newest, measure)]
    skipped = tuple(f"skipped {entry.name}: {_why_not(entry)}" for entry in newer)
    return newest, (*skipped, *_saved_later(usable, newest))


def _saved_later(usable: Sequence[Entry], newest: Entry) -> tuple[str, ...]:
    """Say where a checkpoint that is less far was saved later: what a run left behind that was started anew."""
    series = [entry for entry in usable if entry.named.series == newest.named.series]
    if not all(entry.sources.get("time") in ("inside", "name") for entry in series):
        return ()
    measure = measure_of(series)
    behind = [entry for entry in series if progress(entry, measure)[0] < progress(newest, measure)[0]]
    later = [entry for entry in behind if entry.time > newest.time]
    if not later:
        return ()
    last = max(later, key=lambda entry: entry.time)
    return (f"{last.name} was saved later than {newest.name}, which may be of a run before that",)


def _why_not(entry: Entry) -> str:
    if entry.state != "complete":
        return f"{entry.state}{f' ({entry.reason})' if entry.reason else ''}"
    return "weights alone, no optimizer" if entry.has_weights else "no weights"


def _named_to_resume(
    model_path: str | os.PathLike[str],
) -> tuple[Entry, Sequence[Entry], str, tuple[str, ...]]:
    """The checkpoint at a path; of a directory that is none to resume from, the newest one in it that is."""
    path = found(model_path)
    if os.path.isdir(path):
        run = Run(path)
        newest, notes = _newest(run)
        own = next((one for one in run.entries if one.name == "."), None)
        if newest is not None and not (is_one_checkpoint(path) and (own is None or own.has_optimizer)):
            return newest, run.entries, f"the newest whole checkpoint of {path} that can be resumed", notes
    return (*_named(path), ())


def _named(model_path: str | os.PathLike[str]) -> tuple[Entry, Sequence[Entry], str]:
    """The checkpoint at a path, the others beside it, and how it was chosen."""
    path = found(model_path)
    if os.path.isdir(path) and not is_one_checkpoint(path):
        selection = Run(path).select()
        return selection.entry, Run(path).entries, f"the latest of {path}: {selection.reason}"
    entry = read_entry(
        Found(path, os.path.basename(path.rstrip("/")), unfinished_reason(os.path.basename(path)))
    )
    if entry is None:
        raise CheckpointNotFoundError("is no checkpoint", path=path)
    if entry.state != "complete":
        raise DamagedFileError(
            f"is {entry.state}: {entry.reason}",
            path=path,
            remedy=f"Whole ones beside it: `ckpt ls {os.path.dirname(path)}`.",
        )
    return entry, Run(os.path.dirname(path)).entries, "given by its path"


# What differs.


def _epochs_of(config: Any) -> int | None:
    values = config if isinstance(config, Mapping) else getattr(config, "__dict__", {})
    return epochs_in(values)


def _drift(entry: Entry, config: Any) -> ConfigDrift:
    if config is None or not entry.config:
        return ConfigDrift()
    try:
        with open_checkpoint(entry.path) as ckpt:
            changes = config_drift(ckpt, config).changes
    except CheckpointError:
        return ConfigDrift()
    # A script that saves all of its arguments saves the flags with them.
    return ConfigDrift(tuple(one for one in changes if one.kind != "removed" or one.name not in FLAGS))


def _extending(entry: Entry, aim: _Aim, ending: str) -> tuple[str, ...]:
    """A warning where the target is beyond the saved one and a schedule ended there."""
    before = epochs_in(entry.config)
    if not ending or before is None or aim.target is None or aim.target <= before:
        return ()
    beyond = f"the target of {aim.target} epochs is beyond the saved one of {before}, where a schedule ended: {ending}"
    return (f"{beyond}; set a new schedule for the epochs that remain",)
