"""restore: a live model filled from a checkpoint, all of it or a raised report."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.config.rules import Rules
from ckpt_core.framework import Filled, Filling, Template
from ckpt_core.schema import Checkpoint
from ckpt_core.validation.asked import Asked
from ckpt_core.validation.choosing import opened
from ckpt_core.validation.matching import Match, match_all
from ckpt_core.validation.owners import framework_for
from ckpt_core.validation.receipt import Restored
from ckpt_core.validation.schedulers import SteppingMatch, match_scaler, match_scheduler, saved_schedulers
from ckpt_core.validation.siblings import fitting_siblings

__all__ = ["restore"]

_FIRST = 8


def restore(
    ckpt: Checkpoint | str | os.PathLike[str],
    model: Any,
    optimizer: Any = None,
    scheduler: Any = None,
    scaler: Any = None,
    *,
    device: Any = None,
    sharding: Any = None,
    mode: str | None = None,
    partial: str | Sequence[str] = (),
    dtypes: str = "exact",
    strip_prefix: str | None = None,
    weights: str | None = None,
    optimizer_name: str | None = None,
    scheduler_name: str | None = None,
    rules: Rules = None,
) -> Restored:
    """Fill a live model, its optimizer and its scheduler exactly as they were saved: all, or a raised report.

    Everything is compared first, then read to the CPU, and only then put in place; what fails on the way leaves
    the model as it was. On the CPU that costs the bytes of the weights once more while it lasts.

    Arguments:
        ckpt: an open checkpoint, or the path of one, or of a directory of them, of which the latest is taken.
        model: a torch module, which is filled in place (one on the meta device gets its arrays on the CPU);
            Flax variables, (module, variables), or a TrainState, of which a new one is made; an NNX model, which
            is filled in place. `jax.eval_shape` of any of the last three will do.
        optimizer: a torch optimizer, an `nnx.Optimizer`, or the state of an optax optimizer. A TrainState has its
            own with it.
        scheduler: a torch scheduler of that optimizer. A schedule of optax is counted in the optimizer's state.
        scaler: a gradient scaler of torch; one that is switched off takes no state.
        device: where the filled model goes ("cuda", "gpu:1", a device of the framework); "auto" takes an
            accelerator when there is one; by default everything stays where it is.
        sharding: for jax: a sharding, or a tree of them like the model.
        mode: "eval" or "train"; by default a torch module ends in eval(), or in train() when an optimizer is
            restored.
        partial: patterns of names (`head/**`) whose differences are let through: those arrays stay as they are.
            They must cover every difference.
        dtypes: "exact", "widen" or "cast", as for `validate`.
        strip_prefix: first segments to take off the checkpoint's names ("module").
        weights: which copy of the weights is meant, where `ckpt` is a path ("ema").
        optimizer_name, scheduler_name: which of several saved optimizers, or schedulers, is meant.
        rules: shape rules of this model, for the likely fields in a report.

    Returns:
        The model and the optimizer with a receipt, which prints as text.

    Raises:
        MismatchError: they do not fit; the report names every difference.
        UsageError: `model` is no live model; says how to make one.
        DeviceMemoryError: the filled model does not fit where it was to go; names the bytes.
        CheckpointError: the checkpoint cannot be opened or read.

    Example:
        restored = restore("runs/exp1/checkpoint_epoch_10.pth", model, optimizer)
        print(restored)
    """
    patterns = (partial,) if isinstance(partial, str) else tuple(partial)
    asked = Asked(dtypes, patterns, strip_prefix, rules)
    framework = framework_for(model)
    template = framework.template(model)
    with opened(ckpt, weights) as (own, chosen):
        wanted = framework.optimizer_template(model, optimizer)
        schedule = scale = SteppingMatch(())
        if scheduler is not None:
            schedule = match_scheduler(own, framework.scheduler_state(scheduler), scheduler_name)
        if scaler is not None:
            scale = match_scaler(own, framework.scheduler_state(scaler))
        found, loaded = match_all(
            own,
            template,
            wanted,
            asked,
            optimizer_name=optimizer_name,
            reads_ties=True,
            more=(*schedule.problems, *scale.problems),
        )
        if not found.report.ok:
            siblings = fitting_siblings(own.path, template, wanted, optimizer_name)
            replace(found.report, siblings=siblings).raise_if_failed()
        state = None if loaded is None else loaded.state
        filling = Filling(
            model,
            found.sources,
            optimizer,
            state,
            found.extra,
            stepping=tuple(
                (live, match.state)
                for live, match in ((scheduler, schedule), (scaler, scale))
                if match.state is not None
            ),
            device=device,
            sharding=sharding,
            mode=mode,
        )
        filled = framework.fill(filling)
        return _receipt(own, chosen, template, found, filling, filled, schedule, scale)


def _receipt(
    ckpt: Checkpoint,
    chosen: str,
    template: Template,
    found: Match,
    filling: Filling,
    filled: Filled,
    schedule: SteppingMatch,
    scale: SteppingMatch,
) -> Restored:
    params = [slot for slot in template.slots if slot.role == "param" and slot.tied is None]
    total = sum(slot.spec.size for slot in params)
    trainable = sum(slot.spec.size for slot in params if slot.name in filled.trainable)
    has_optimizer = filling.state is not None
    return Restored(
        filled.model,
        filled.optimizer,
        has_optimizer,
        schedule.state is not None,
        scale.state is not None,
        ckpt.path or "a checkpoint in memory",
        chosen,
        ckpt.step,
        ckpt.epoch,
        _time(ckpt),
        ckpt.metrics,
        _learning_rate(ckpt),
        total,
        trainable,
        total - trainable,
        _bytes_of(found.sources.values()),
        filled.device,
        filled.mode,
        filled.hint,
        tuple((slot.name, slot.spec.shape, slot.spec.dtype) for slot in template.slots[:_FIRST]),
        found.report,
        tuple(_next_steps(ckpt, filled, has_optimizer, schedule, scale)),
    )


def _time(ckpt: Checkpoint) -> Any:
    """When it was saved, as saved; else when its file was written."""
    if ckpt.timestamp is not None or not os.path.exists(ckpt.path):
        return ckpt.timestamp
    written = dt.datetime.fromtimestamp(os.path.getmtime(ckpt.path), dt.timezone.utc)
    return f"{written:%Y-%m-%d %H:%M:%S} UTC (of the file)"


def _bytes_of(arrays: Iterable[LazyArray]) -> int:
    distinct = {array.identity or id(array): array.nbytes for array in arrays}
    return sum(distinct.values())


def _learning_rate(ckpt: Checkpoint) -> float | None:
    for state in ckpt.opt_states.values():
        for key in ("lr", "learning_rate"):
            value = state.hyperparams.get(key)
            if isinstance(value, (int, float)):
                return float(value)
    return None


def _next_steps(
    ckpt: Checkpoint, filled: Filled, has_optimizer: bool, schedule: SteppingMatch, scale: SteppingMatch
) -> Iterable[str]:
    if has_optimizer:
        if ckpt.epoch is not None:
            yield f"training goes on after epoch {ckpt.epoch}"
        elif ckpt.step is not None:
            yield f"training goes on after step {ckpt.step}"
        if ckpt.schedulers and schedule.state is None:
            names = ", ".join(saved_schedulers(ckpt))
            yield f"still to be loaded: {names}: restore(ckpt, model, optimizer, scheduler), or ckpt.schedulers"
        if ckpt.scaler and scale.state is None:
            yield "still to be loaded: the gradient scaler: restore(..., scaler=scaler), or ckpt.scaler"
        if ckpt.rng:
            yield f"states of random generators are in ckpt.rng: {', '.join(ckpt.rng)}"
        return
    if filled.mode == "eval":
        yield "ready for inference"
    if ckpt.opt_states and not has_optimizer:
        yield "to go on training, pass the optimizer too: restore(ckpt, model, optimizer)"
