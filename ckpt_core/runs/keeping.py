"""Keeping: the checkpoints that a training loop writes into its run, periodic, best and final ones.

Each file appears whole under its name or not at all. The best one is a hard link to the periodic one where both are
written at once and the file system has links: writers replace files and never change them, so that the link keeps
what it is. Elsewhere, and for directories, it is written a second time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ckpt_core.errors import UsageError
from ckpt_core.live import tree_of
from ckpt_core.registry import registry
from ckpt_core.runs.metrics import mode_of
from ckpt_core.runs.reading import numbers_of, read_entry
from ckpt_core.runs.scan import Found
from ckpt_core.saving import save_checkpoint
from ckpt_core.schema.plainly import as_plain
from ckpt_core.sink import link_target, remove_target
from ckpt_core.training_tree import framework_name

__all__ = ["Kept", "keep"]

_FORMATS: Final = {"torch": "torch", "flax": "orbax"}
"""The format that a run is written in, by the framework of its models."""


@dataclass(frozen=True)
class Kept:
    """What one call of `Run.save` wrote.

    Arguments:
        periodic, best, final: the paths that were written; None for what was not due.
        value: this checkpoint's value of the metric that decides on the best one; None without one.
        best_value: the best value so far.
    """

    periodic: str | None = None
    best: str | None = None
    final: str | None = None
    value: float | None = None
    best_value: float | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Everything that was written."""
        return tuple(path for path in (self.periodic, self.best, self.final) if path is not None)


def keep(
    folder: str,
    training: Mapping[str, Any],
    *,
    every: int = 1,
    best: str | None = None,
    mode: str | None = None,
    final: bool = False,
    comment: str = "",
    to: str | None = None,
) -> Kept:
    """Write what is due at this point of a run.

    Arguments:
        folder: the directory, made if it is not there.
        training: the arguments of `save_checkpoint`, `model` among them.
        every: a periodic checkpoint is due when the epoch (or, without one, the step) is a multiple of this; with 1
            at every call.
        best: the metric whose best value so far makes a checkpoint the best.
        mode: which way it is better.
        final: training ends here.
        comment: words that end the names.
        to: the format; that of the model's framework by default.

    Raises:
        UsageError: neither epoch nor step is given; or the metric is not among the metrics.
    """
    suffix, to = _suffix(training["model"], to)
    tail = f"_{comment}{suffix}" if comment else suffix
    value = None if best is None else _value(training, best)
    best_path, final_path = (os.path.join(folder, f"checkpoint_{role}{tail}") for role in ("best", "final"))
    before = None if best is None else _best_so_far(best_path, best)
    improves = value is not None and best is not None and _is_better(value, before, mode_of(best, mode))
    due = {
        "periodic": os.path.join(folder, f"checkpoint_{_counters(training)}{tail}")
        if _is_due(training, every)
        else None,
        "best": best_path if improves else None,
        "final": final_path if final else None,
    }
    os.makedirs(folder, exist_ok=True)
    written: str | None = None
    for path in due.values():
        if path is None:
            continue
        if written is None or os.path.isdir(written) or not _linked(written, path):
            save_checkpoint(path, **training, to=to, force=True)
        written = written or path
    return Kept(**due, value=value, best_value=value if improves else before)


def _linked(written: str, path: str) -> bool:
    if os.path.isdir(path):  # a checkpoint of another kind under this name
        remove_target(path)
    return link_target(written, path)


def _suffix(model: Any, to: str | None) -> tuple[str, str]:
    if to is None:
        to = _FORMATS.get(framework_name(model), "torch")
    suffixes = registry().backend(to).suffixes
    return next((suffix for suffix in suffixes if suffix.startswith(".")), ""), to


def _counters(training: Mapping[str, Any]) -> str:
    epoch, step = training.get("epoch"), training.get("step")
    if epoch is None:
        return f"step_{step}"
    whole = math.floor(epoch)
    return f"epoch_{whole}" if epoch == whole or step is None else f"epoch_{whole}_step_{step}"


def _is_due(training: Mapping[str, Any], every: int) -> bool:
    epoch, step = training.get("epoch"), training.get("step")
    counter = step if epoch is None else epoch
    if counter is None:
        raise UsageError(
            "neither epoch nor step is given", remedy="Pass epoch= or step=: they name the file."
        )
    if every < 1:
        raise UsageError(f"every={every} is no interval")
    return every == 1 or bool(counter % every == 0)  # every call, in the middle of an epoch too


def _value(training: Mapping[str, Any], metric: str) -> float:
    found = numbers_of(as_plain(tree_of(dict(training.get("metrics") or {}))))
    if metric not in found:
        raise UsageError(
            f"best={metric!r} is not among the metrics",
            remedy=f"Metrics given: {', '.join(found) or 'none'}.",
        )
    return found[metric]


def _best_so_far(path: str, metric: str) -> float | None:
    """The value in the best checkpoint that is there; of a damaged one none, so that it is replaced."""
    if not os.path.lexists(path):
        return None
    entry = read_entry(Found(path, os.path.basename(path)))
    return None if entry is None else entry.metric(metric)


def _is_better(value: float, before: float | None, mode: str) -> bool:
    if not math.isfinite(value):
        return False
    return before is None or (value < before if mode == "min" else value > before)
