"""Run: a directory of checkpoints."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckpt_core.paths import search
from ckpt_core.runs import prune as pruning
from ckpt_core.runs.entry import Entry
from ckpt_core.runs.html import run_html
from ckpt_core.runs.keeping import Kept, keep
from ckpt_core.runs.listing import Listing, list_checkpoints
from ckpt_core.runs.nearest import nothing_here
from ckpt_core.runs.prune import Pruning
from ckpt_core.runs.select import Selection, best_of, select
from ckpt_core.runs.table import MetricsTable, metrics_table

__all__ = ["Run"]


class Run:
    """A directory of checkpoints of any format, mixed and in sub-directories as they come.

    Iterating gives the entries in the order of training. The directory is read at the first question and not again;
    `refresh` forgets it.

    Arguments:
        path: the directory; a relative one is looked for in the usual places (`ckpt_core.paths`). It need not be
            there yet: `save` makes it, in the working directory.
        comment: only checkpoints whose names have these words.

    Example:
        >>> [entry.name for entry in Run("runs/exp1")]  # doctest: +SKIP
        ['checkpoint_epoch_9.pth', 'checkpoint_epoch_10.pth']
    """

    def __init__(self, path: str | os.PathLike[str], *, comment: str | None = None) -> None:
        self.given = os.fspath(path)
        self.comment = comment

    @property
    def path(self) -> str:
        """Where the run is, as an absolute path."""
        return search(self.given)[0] or os.path.abspath(self.given)

    @functools.cached_property
    def _listing(self) -> Listing:
        return list_checkpoints(self.path, self.comment)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What is there, whole or not, in the order of training."""
        return self._listing.entries

    @property
    def notes(self) -> tuple[str, ...]:
        """What was not looked at, one sentence each."""
        return self._listing.notes

    def refresh(self) -> None:
        """Forget what was read, so that the next question reads the directory again."""
        self.__dict__.pop("_listing", None)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def _there(self) -> tuple[Entry, ...]:
        if not self.entries:
            raise nothing_here(self.path, self.given)
        return self.entries

    # Choosing.

    def latest(self) -> Entry:
        """Return the whole checkpoint that is the farthest in training.

        Raises:
            CheckpointNotFoundError: there is none; says where it looked and what is near.
        """
        return self.select().entry

    def best(self, metric: str, mode: str | None = None) -> Entry:
        """Return the whole checkpoint with the best value of a metric; of equal ones, the first in training.

        Arguments:
            metric: its name, as saved.
            mode: "min" or "max", where the name does not tell which way is better.

        Raises:
            CheckpointNotFoundError: no whole checkpoint has a finite value of it; names the metrics there are.
            UsageError: nothing tells which way is better, or it is a running best (`best_val_eer`).
        """
        return best_of(self._there(), metric, mode)

    def select(
        self,
        *,
        path: str | os.PathLike[str] | None = None,
        prefer: str | Sequence[str] | None = None,
        best: str | None = None,
        mode: str | None = None,
    ) -> Selection:
        """Choose a checkpoint: by `path`, else a preferred name, else the best by a metric, else the latest.

        Arguments:
            path: a path, absolute or relative to one of the usual places or to the run.
            prefer: names, patterns of names (`*_final.pth`) or roles ("best", "final", "last"); the first that is
                there.
            best: the name of a metric.
            mode: "min" or "max", where the metric's name does not tell.

        Returns:
            The entry, the rule that chose it, and what was passed over and why.

        Raises:
            CheckpointNotFoundError: there is no whole checkpoint.
            UsageError: as `best`.
        """
        return select(self._there(), path=path, prefer=prefer, best=best, mode=mode, folder=self.path)

    def metrics(self) -> MetricsTable:
        """Return the metrics of all checkpoints, running bests apart: `.records()`, `.csv()`, `.dataframe()`."""
        return metrics_table(self.entries)

    # Changing.

    def prune(
        self,
        *,
        keep_last: int | None = None,
        keep_best: int | None = None,
        every: int | None = None,
        metric: str | None = None,
        mode: str | None = None,
        yes: bool = False,
    ) -> Pruning:
        """Remove periodic checkpoints that no rule keeps; a dry run, unless told `yes`.

        The latest, the best, those with a role by their names, and whatever is damaged or not recognised stay.

        Arguments:
            keep_last: how many of the last ones stay.
            keep_best: how many of the best ones by `metric` stay.
            every: the ones whose epoch (or step, where no epochs were saved) is a multiple of this stay.
            metric, mode: the metric, and which way it is better.
            yes: really remove.

        Returns:
            What stays and why, what goes, and the bytes that this frees.

        Raises:
            UsageError: no rule was given, or `keep_best` has no metric to go by.
            TargetError: a checkpoint changed since it was listed, or the system refuses.
        """
        plan = pruning.plan_pruning(
            self._there(), keep_last=keep_last, keep_best=keep_best, every=every, metric=metric, mode=mode
        )
        if not yes:
            return plan
        try:
            return pruning.remove(plan, self.path)
        finally:
            self.refresh()

    def save(
        self,
        model: Any,
        optimizer: Any = None,
        *,
        step: int | None = None,
        epoch: float | None = None,
        metrics: Mapping[str, Any] | None = None,
        config: Any = None,
        scheduler: Any = None,
        scaler: Any = None,
        rng: Any = None,
        extra: Mapping[str, Any] | None = None,
        every: int = 1,
        best: str | None = None,
        mode: str | None = None,
        final: bool = False,
        comment: str = "",
        to: str | None = None,
    ) -> Kept:
        """Write the checkpoints that are due at this point of training; call it after each epoch (or step).

        They are `checkpoint_epoch_10.pth` (or `_step_`), `checkpoint_best.pth` and `checkpoint_final.pth`, each
        replaced atomically, in the run's directory below the working directory.

        Arguments:
            model, optimizer, step, epoch, metrics, config, scheduler, scaler, rng, extra: as `save_checkpoint`
                takes them.
            every: a periodic one is due when the epoch (or, without one, the step) is a multiple of this; with 1 at
                every call.
            best: the metric whose best value so far makes a checkpoint the best; NaN never does.
            mode: "min" or "max", where its name does not tell which way it is better.
            final: training ends here.
            comment: words that end the names.
            to: the format; by default torch for torch models and Orbax for Flax.

        Returns:
            The paths that were written, this value and the best one so far.

        Raises:
            UsageError: neither epoch nor step is given, or `best` is not among the metrics.
            TargetError: the system refuses.

        Example:
            for epoch in range(1, 101):
                ...
                run.save(model, optimizer, epoch=epoch, metrics={"val_eer": eer}, every=5, best="val_eer")
        """
        training = {
            "model": model,
            "optimizer": optimizer,
            "step": step,
            "epoch": epoch,
            "metrics": metrics,
            "config": config,
            "scheduler": scheduler,
            "scaler": scaler,
            "rng": rng,
            "extra": extra,
        }
        folder = os.path.abspath(self.given)
        kept = keep(folder, training, every=every, best=best, mode=mode, final=final, comment=comment, to=to)
        self.refresh()
        return kept

    def __repr__(self) -> str:
        return f"Run({self.given!r})"

    def _repr_html_(self) -> str:
        return run_html(self.path, self.entries, self.notes)
