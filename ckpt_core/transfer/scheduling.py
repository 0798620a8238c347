"""Where the learning-rate schedule of a run stands: of which saved scheduler, and what is not known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ckpt_core.optimizers.schedules import Schedule, schedule_of, separate
from ckpt_core.schema import Checkpoint

__all__ = ["scheduled"]


def scheduled(ckpt: Checkpoint, native: Any, step: int | None) -> tuple[Schedule | None, Sequence[str]]:
    """Return where torch's scheduler of an optimizer stands, if that is known, and what is to be said of it.

    Arguments:
        ckpt: the checkpoint.
        native: the state of the optimizer, as the checkpoint has it.
        step: the number of updates that it made.
    """
    saved = separate(ckpt.schedulers)
    if not saved:
        return None, ()
    optimizers = [state.native for state in ckpt.opt_states.values()]
    names = list(saved)
    if len(saved) == len(optimizers):  # one for each, in the same order
        names = [name for name, other in zip(saved, optimizers, strict=True) if other is native]
    found = {name: schedule_of(saved[name], step) for name in names}
    known = [schedule for schedule in found.values() if schedule is not None]
    if not known:
        return None, (f"the state of the scheduler is of no known form: {', '.join(names)}",)
    if len(names) > 1:
        unsure = f"{len(names)} schedulers are saved, and how they work together is not: {', '.join(names)}"
        return replace(known[0], recipes=()), (unsure,)
    more = ("say how many it made (optimizer_step=, --optimizer-step)",) if step is None else ()
    return known[0], (*known[0].notes, *more)
