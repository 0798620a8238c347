"""ResumePlan: what a training script does next, as one decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ckpt_core.config import ConfigDrift
from ckpt_core.errors import UsageError
from ckpt_core.rendering.html import section_html, table_html
from ckpt_core.runs.entry import Entry

__all__ = ["ResumePlan"]

_GONE: Final = 8
"""Names of saved hyperparameters that are not there now, as far as they are shown."""


@dataclass(frozen=True)
class ResumePlan:
    """What to load, and where to go on.

    Arguments:
        action: "fresh", "weights" or "resume".
        path: what to load, as an absolute path; None for a fresh start.
        entry: what is known about it.
        epoch: the number of the epoch to go on with, as the script counts; None where no epoch is known.
        batch: how many batches of that epoch are done already.
        step: how many optimizer steps are done.
        first_epoch: the number of the first epoch.
        epochs_done: how many epochs are complete; None where no epoch is known.
        target: how many epochs there are to be; None where nobody said.
        drift: which hyperparameters differ from the saved ones.
        chosen: how the file was chosen.
        notes: what a reader should know: what was skipped and why, and what was assumed.
        warnings: what may go wrong: a schedule that ends before the target.
    """

    action: str
    path: str | None = None
    entry: Entry | None = None
    epoch: int | None = None
    batch: int = 0
    step: int = 0
    first_epoch: int = 1
    epochs_done: int | None = 0
    target: int | None = None
    drift: ConfigDrift = field(default_factory=ConfigDrift)
    chosen: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def optimizer(self) -> bool:
        """Whether the optimizer's state comes along."""
        return self.action == "resume"

    @property
    def remaining(self) -> int | None:
        """How many epochs remain of the target, the one in progress included; None where one of them is not known."""
        if self.target is None or self.epochs_done is None:
            return None
        return max(self.target - self.epochs_done, 0)

    @property
    def is_finished(self) -> bool:
        """Whether nothing remains."""
        return self.remaining == 0

    @property
    def epochs(self) -> range:
        """The epochs that remain, as the script counts: `for epoch in plan.epochs`.

        Raises:
            UsageError: no target was given, or the checkpoint says no epoch.
        """
        if self.epoch is None or self.remaining is None:
            what = "no target was given" if self.target is None else "the checkpoint says no epoch"
            raise UsageError(f"the epochs that remain are not known: {what}", path=self.path)
        return range(self.epoch, self.epoch + self.remaining)

    def __str__(self) -> str:
        return "\n".join(f"{title}: {text}" if title else text for title, text in self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        if self.action == "fresh":
            rows = [("", f"fresh start: {self.chosen}")]
        else:
            loads = "weights and optimizer" if self.optimizer else "weights, with a fresh optimizer"
            rows = [(self.action, str(self.path)), ("chosen", self.chosen), ("loads", loads)]
        rows.append(("goes on", self._going_on()))
        rows += [("note", text) for text in self.notes]
        rows += [("warning", text) for text in self.warnings]
        changed = ConfigDrift(tuple(change for change in self.drift.changes if change.kind != "removed"))
        gone = [change.name for change in self.drift.changes if change.kind == "removed"]
        if changed:
            rows.append(("hyperparameters differ from the saved ones", f"\n{changed}"))
        if gone:  # a trainer saves far more than a script has
            more = f" and {len(gone) - _GONE} more" if len(gone) > _GONE else ""
            rows.append(("saved, and not there now", f"{', '.join(gone[:_GONE])}{more}"))
        return rows

    def _going_on(self) -> str:
        where = "from an epoch that is not known" if self.epoch is None else f"with epoch {self.epoch}"
        batch = f", of which {self.batch} batches are done" if self.batch else ""
        text = f"{where}{batch}, after step {self.step:,}"
        if self.remaining is None:
            return text
        if self.is_finished:
            return (
                f"not at all: {self.epochs_done} of {self.target} epochs are done; raise the target to go on"
            )
        return f"{text}; {self.remaining} of {self.target} epochs remain"

    def _repr_html_(self) -> str:
        rows = [(title, " ".join(text.split())) for title, text in self._rows()]
        return section_html("resuming", table_html((), rows))
