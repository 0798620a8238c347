"""Counting epochs: how many are complete, told from a saved number that may count from zero or from one.

The next epoch is one more than the saved one either way. How many are done, and so how many remain, is not: after a
saved epoch of 9 it is ten where counting starts at zero. A trainer that keeps counters of its own for that is taken
at its word. Otherwise what tells them apart is, in this order: the caller; a number in the file's name beside the one
inside; the step beside the epoch, over the steps per epoch that two checkpoints of the run give; the trainer that
wrote the file; a checkpoint of epoch 0; the saved target of a final one. Steps also tell a save in the middle of an
epoch. A lone checkpoint may hold a hint: a schedule that was stepped once more often than the epoch says, or steps
that only one of the two counts divides evenly. It decides, and is told as an assumption.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ckpt_core.config.names import entries_of
from ckpt_core.runs.entry import Entry

__all__ = ["Counting", "counting_of", "epochs_in", "steps_per_epoch_of"]

_TRAINERS: Final = {"lightning": 0, "timm": 0, "ultralytics": 0, "hf_trainer": 1, "mmengine": 1}
"""The number of the first epoch, by the layout of the trainer that wrote a file."""

_TARGETS: Final = (
    "epochs",
    "num_epochs",
    "max_epochs",
    "n_epochs",
    "total_epochs",
    "num_train_epochs",
    "nepochs",
)

_BATCHES: Final = {
    "batch_idx": 1,
    "batch_index": 1,
    "batch_in_epoch": 0,
    "step_in_epoch": 0,
    "iter_in_epoch": 0,
}
"""Entries that say how far the epoch in progress is, and what makes a count of them: an index is one less."""

FIRST: Final = 1
"""The number of the first epoch where nothing tells it."""


@dataclass(frozen=True)
class Counting:
    """How far a checkpoint is.

    Arguments:
        first: the number of the first epoch, 0 or 1.
        done: how many epochs are complete; None where no epoch is known.
        batch: how many batches of the next epoch are done.
        reason: what told, as a clause.
        is_assumed: whether nothing told for sure.
    """

    first: int
    done: int | None
    batch: int = 0
    reason: str = ""
    is_assumed: bool = False

    @property
    def next_epoch(self) -> int | None:
        """The number of the epoch to go on with."""
        return None if self.done is None else self.done + self.first


def counting_of(
    entry: Entry,
    others: Sequence[Entry] = (),
    *,
    first_epoch: int | None = None,
    steps_per_epoch: int | None = None,
    scheduled: Collection[int] = (),
) -> Counting:
    """Return how far a checkpoint is.

    Arguments:
        entry: the checkpoint.
        others: the other ones of its run, for comparison.
        first_epoch: the number of the first epoch, where the caller knows it.
        steps_per_epoch: optimizer steps per epoch, likewise.
        scheduled: how often its schedules were stepped.
    """
    told = entry.progress
    if told is not None and told.epochs is not None:
        number = told.first if first_epoch is None else first_epoch
        return Counting(number, told.epochs, told.batches, f"{entry.layout} counts what is done")
    steps = steps_per_epoch or steps_per_epoch_of([entry, *others])
    first, reason = _first(entry, others, first_epoch, steps)
    is_assumed = first is None
    if first is None:
        first, reason = _assumed(entry, scheduled)
    if entry.epoch is None:
        taken = entry.steps_done
        done = taken // steps if taken is not None and steps else None
        batch = taken % steps if taken is not None and steps else 0
        return Counting(first, done, batch, reason, is_assumed)
    done = entry.epoch - first + 1
    if entry.part:
        return Counting(first, done, _batch_of_part(entry, steps), reason, is_assumed)
    for name, more in _BATCHES.items():
        value = entry.config.get(name)
        if type(value) is int and value >= 0 and not (steps and value + more >= steps):
            return Counting(first, done - 1, value + more, f"{reason}; {name} = {value}", is_assumed)
    if (
        steps
        and entry.step is not None
        and entry.step % steps
        and abs(entry.step // steps - entry.epoch) <= 1
    ):
        within = f"step {entry.step} is {entry.step % steps} steps into an epoch of {steps}"
        return Counting(first, entry.step // steps, entry.step % steps, f"{reason}; {within}", is_assumed)
    return Counting(first, done, 0, reason, is_assumed)


def steps_per_epoch_of(entries: Sequence[Entry]) -> int | None:
    """Return the steps per epoch that most pairs of checkpoints agree on; None where no two differ in both."""
    points = sorted({(e.epoch, e.step) for e in entries if e.epoch is not None and e.step is not None})
    slopes: Counter[int] = Counter()
    for (epoch, step), (later, more) in itertools.pairwise(points):
        if later > epoch and more > step and (more - step) % (later - epoch) == 0:
            slopes[(more - step) // (later - epoch)] += 1
    return max(slopes, key=lambda slope: (slopes[slope], slope)) if slopes else None


def epochs_in(config: Mapping[str, Any]) -> int | None:
    """Return the number of epochs that a config asks for, under any of its usual names; one at the top counts first."""
    found: dict[str, Any] = {}
    for entry in sorted(entries_of(config), key=lambda entry: len(entry.keys)):
        found.setdefault(str(entry.keys[-1]).lower(), entry.value)
    for name in _TARGETS:
        value = found.get(name)
        if (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and math.isfinite(value)
            and value > 0
        ):
            return int(value)
    return None


def _first(
    entry: Entry, others: Sequence[Entry], first_epoch: int | None, steps: int | None
) -> tuple[int | None, str]:
    """The number of the first epoch and what tells it, or None."""
    if first_epoch is not None:
        return first_epoch, "as told"
    if entry.part:
        return 1, "epochs in fractions say how many are done"
    run = [entry, *(other for other in others if other.is_whole)]
    for evidence in (_by_name, lambda one: _by_steps(one, steps), _by_trainer, _by_zero, _by_target):
        told = Counter(found for one in run if (found := evidence(one)) is not None)
        if told:
            return told.most_common(1)[0][0]
    return None, ""


def _assumed(entry: Entry, scheduled: Collection[int]) -> tuple[int, str]:
    """The number of the first epoch where nothing tells it for sure."""
    epoch, steps = entry.epoch, entry.steps_done
    if epoch is not None and epoch + 1 in scheduled and epoch not in scheduled:
        return 0, f"a schedule was stepped {epoch + 1} times at epoch {epoch}; counted from 0"
    if epoch and steps:
        even = [first for first in (0, 1) if steps % (epoch + 1 - first) == 0]
        if len(even) == 1:
            done, other = (epoch + 1, epoch) if even == [0] else (epoch, epoch + 1)
            return even[
                0
            ], f"{steps:,} steps are {done} equal epochs, and not {other}; counted from {even[0]}"
    return FIRST, f"nothing tells whether epochs count from 0 or 1; counted from {FIRST}"


def _by_name(entry: Entry) -> tuple[int, str] | None:
    name, inside = entry.named.epoch, entry.epoch
    if name is None or inside is None or entry.sources.get("epoch") != "inside":
        return None
    if inside == name - 1:
        return 0, "inside counts from 0, and the name from 1"
    return (1, "inside counts the epochs done, and the name from 0") if inside == name + 1 else None


def _by_steps(entry: Entry, steps: int | None) -> tuple[int, str] | None:
    if not steps or entry.step is None or entry.epoch is None or entry.step % steps:
        return None
    first = entry.epoch + 1 - entry.step // steps
    return (first, f"{steps} steps per epoch") if first in (0, 1) else None


def _by_trainer(entry: Entry) -> tuple[int, str] | None:
    first = _TRAINERS.get(entry.layout or "")
    return None if first is None else (first, f"{entry.layout} counts from {first}")


def _by_zero(entry: Entry) -> tuple[int, str] | None:
    has_trained = entry.step is None or entry.step > 0
    return (0, "there is a checkpoint of epoch 0") if entry.epoch == 0 and has_trained else None


def _by_target(entry: Entry) -> tuple[int, str] | None:
    target = epochs_in(entry.config)
    if entry.role != "final" or target is None or entry.epoch is None:
        return None
    first = entry.epoch + 1 - target
    return (first, f"the final checkpoint of {target} epochs says {entry.epoch}") if first in (0, 1) else None


def _batch_of_part(entry: Entry, steps: int | None) -> int:
    """How many batches a fraction of an epoch is, by the steps where they are known."""
    assert entry.epoch is not None
    if steps:
        return round(entry.part * steps)
    if entry.step is None:
        return 0
    per_epoch = entry.step / (entry.epoch + entry.part)
    return round(entry.part * per_epoch)
