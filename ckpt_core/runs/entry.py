"""Entry: what is known about one checkpoint of a run, and where each figure came from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ckpt_core.layouts import Progress
from ckpt_core.runs.names import NameFacts

__all__ = ["COMPLETE", "DAMAGED", "UNFINISHED", "UNREADABLE", "Entry"]

COMPLETE: Final = "complete"
DAMAGED: Final = "damaged"
UNFINISHED: Final = "unfinished"
UNREADABLE: Final = "unreadable"


@dataclass(frozen=True)
class Entry:
    """One checkpoint of a run.

    Arguments:
        path: where it is, as an absolute path.
        name: the path inside the run's directory.
        state: "complete" as far as its structure tells, "damaged", "unfinished" (a temporary name), or
            "unreadable" (here: a library is missing, a link leads elsewhere).
        reason: what is wrong with it, or "".
        format: the name of the backend; None where nothing could read it.
        layout: the name of the layout that was recognised, or None.
        step, epoch: the counters, from inside the file, or else from its name.
        part: how much of the epoch after `epoch` is done, where a file counts epochs in fractions.
        progress: how far training was, where the trainer's own counters tell.
        number: a number of the name that may be either counter.
        metrics: the numbers that this checkpoint reached, as saved.
        running_bests: the best numbers so far, which say nothing about this checkpoint (`best_val_eer`).
        best_said: the name of the checkpoint that its trainer called the best so far; "" for none.
        config: the saved hyperparameters.
        size: bytes on the disk.
        time: seconds since 1970, from inside the file, or its name, or the file system.
        role: "periodic", "best", "final" or "last".
        comment: the words of the name that are none of the above.
        has_weights, has_optimizer: whether it has weights, and an optimizer's state.
        sources: for step, epoch, time and each metric: "inside", "name" or "disk".
        named: what the name alone tells.
        same_as: the names of the other entries with the same content.
        linked: of those, the ones that are the same file (hard links and links).
    """

    path: str
    name: str
    state: str = COMPLETE
    reason: str = ""
    format: str | None = None
    layout: str | None = None
    step: int | None = None
    epoch: int | None = None
    part: float = 0.0
    progress: Progress | None = None
    number: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    running_bests: Mapping[str, float] = field(default_factory=dict)
    best_said: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0
    time: float = 0.0
    role: str = "periodic"
    comment: str = ""
    has_weights: bool = False
    has_optimizer: bool = False
    sources: Mapping[str, str] = field(default_factory=dict)
    named: NameFacts = field(default_factory=NameFacts)
    same_as: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether it can be chosen: complete, and with weights."""
        return self.state == COMPLETE and self.has_weights

    @property
    def steps_done(self) -> int | None:
        """How many optimizer steps are done: the saved step, unless its trainer counts otherwise."""
        return self.step if self.progress is None or self.progress.steps is None else self.progress.steps

    def metric(self, name: str) -> float | None:
        """Return a metric that counts: finite, and of a whole checkpoint; else None."""
        value = self.metrics.get(name)
        return value if value is not None and math.isfinite(value) and self.is_whole else None
