"""validate: whether a checkpoint fits a model, decided from structure alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ckpt_core.collector import paused_collector
from ckpt_core.config.rules import Rules
from ckpt_core.errors import UsageError
from ckpt_core.schema import Checkpoint
from ckpt_core.template import template_of
from ckpt_core.validation.asked import Asked
from ckpt_core.validation.choosing import opened
from ckpt_core.validation.matching import match_all
from ckpt_core.validation.owners import owner_of
from ckpt_core.validation.report import ValidationReport

__all__ = ["validate"]


def validate(
    ckpt: Checkpoint | str | os.PathLike[str],
    like: Any,
    optimizer: Any = None,
    *,
    dtypes: str = "exact",
    partial: str | Sequence[str] = (),
    strip_prefix: str | None = None,
    rules: Rules = None,
    weights: str | None = None,
    optimizer_name: str | None = None,
) -> ValidationReport:
    """Report every difference between a checkpoint and what a model expects; reads no array.

    Arguments:
        ckpt: an open checkpoint, or the path of one.
        like: a torch module (on any device, the meta device too), Flax variables, a linen module with its
            variables, a TrainState, an NNX model, `jax.eval_shape` of one, a tree of arrays or of shapes and
            dtypes, another checkpoint, or the path of one or of a JSON template.
        optimizer: a live torch optimizer, an `nnx.Optimizer` or the state of an optax one, to be compared too. A
            TrainState has its own with it.
        dtypes: "exact": a dtype that differs is a problem; "widen": not where the model's holds every value of
            the checkpoint's; "cast": not between floats, nor between integers.
        partial: patterns of names (`head/**`) whose differences are let through.
        strip_prefix: first segments to take off the checkpoint's names ("module").
        rules: shape rules of this model, as `resolve_config` takes them, for the likely fields of its
            configuration; by default the registered ones that fit.
        weights: which copy of the weights is meant, where `ckpt` is a path ("ema").
        optimizer_name: which of several saved optimizers is meant.

    Returns:
        The report. `ok` says whether it fits, `raise_if_failed()` raises MismatchError.

    Raises:
        UsageError: `like` is nothing that says what a model expects, or a pattern fits no name.
        CheckpointError: the checkpoint cannot be opened.

    Example:
        >>> validate({"w": np.zeros((2, 3), np.float32)}, {"w": ArraySpec((2, 4), "float32")}).ok
        False
    """
    patterns = (partial,) if isinstance(partial, str) else tuple(partial)
    asked = Asked(dtypes, patterns, strip_prefix, rules)
    with paused_collector():
        template = template_of(like)
        framework = owner_of(like)
        if framework is None and optimizer is not None:
            raise UsageError("an optimizer is compared together with its live model, and this is none")
        wanted = None if framework is None else framework.optimizer_template(like, optimizer)
        with opened(ckpt, weights) as (found, _):
            result, _ = match_all(found, template, wanted, asked, optimizer_name=optimizer_name)
            return result.report
