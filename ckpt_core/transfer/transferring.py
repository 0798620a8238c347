"""transfer: from a source into a target, by a plan that is given, found, or both."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.framework import Template
from ckpt_core.opening import checkpoint_of
from ckpt_core.optimizers.suggest import Suggestion
from ckpt_core.paths import search
from ckpt_core.schema import Checkpoint
from ckpt_core.template import template_of
from ckpt_core.transfer.applying import apply_plan, check_plan
from ckpt_core.transfer.binding import Problem
from ckpt_core.transfer.plan import TransferPlan
from ckpt_core.transfer.preparing import prepared, request_of
from ckpt_core.transfer.receipt import Receipt
from ckpt_core.transfer.saving import Saving, save_arrays
from ckpt_core.transfer.sides import Target, arrays_by_name, opened, target_of
from ckpt_core.transfer.training import OptimizerRequest, Training, training_of
from ckpt_core.tree import map_with_path
from ckpt_core.writing import Progress

__all__ = ["Check", "Transferred", "is_absent", "transfer", "verify"]


@dataclass(frozen=True)
class Transferred:
    """The result of a transfer; nothing is read until it is asked for.

    Arguments:
        tree: the target's tree, its slots filled with LazyArrays: a dict as the target has it where it has one.
        arrays: the same arrays by name.
        receipt: what went where.
        plan: the plan that was applied.
        template: what the target expects.
        source: the open source, whose files the arrays are read from.
        training: what else was carried, where it was asked for.
    """

    tree: Any
    arrays: Mapping[str, LazyArray]
    receipt: Receipt
    plan: TransferPlan
    template: Template
    source: Checkpoint | None = None
    training: Training | None = None

    @property
    def suggestion(self) -> Suggestion | None:
        """The constructor whose update continues the optimizer's state, where it was carried."""
        return None if self.training is None else self.training.carried.suggestion

    @property
    def checkpoint(self) -> Checkpoint:
        """The result as an open checkpoint, which `restore` takes."""
        attributes = {} if self.training is None else dict(self.training.attributes)
        return checkpoint_of(Stored(self.tree, attributes), format="memory")

    def load(self) -> Any:
        """Return the tree with every array read into memory (numpy)."""
        return map_with_path(lambda _, leaf: leaf.read() if isinstance(leaf, LazyArray) else leaf, self.tree)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        to: str | None = None,
        force: bool = False,
        strict: bool = False,
        progress: Progress | None = None,
    ) -> Receipt:
        """Write the tree as a checkpoint, atomically, tile by tile.

        Arguments:
            path: the file or directory to make.
            to: how the tree is arranged ("flax", "nnx", "torch"), or a format; without it the target's framework
                arranges it and the suffix of `path` decides.
            force: replace an existing target.
            strict: anything that the format cannot hold is an error.
            progress: called with (bytes done, bytes in all).

        Returns:
            The receipt, with the digest of every slot's bytes as they were written.

        Raises:
            UsageError: the target's names are those of another framework than `to`.
            TargetError: the target exists, or cannot be written.
        """
        how = Saving(to, force=force, strict=strict, progress=progress)
        training = {} if self.training is None else self.training.attributes
        return save_arrays(self.tree, self.arrays, self.template, self.receipt, path, how, training)

    def close(self) -> None:
        """Close the source's files; arrays that were not read can no longer be."""
        if self.source is not None:
            self.source.close()

    def __enter__(self) -> Transferred:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def transfer(
    source: Any,
    like: Any,
    *,
    rules: TransferPlan | str | os.PathLike[str] | None = None,
    select: Sequence[str] | str = (),
    into: Sequence[str] | str = (),
    skip: Sequence[str] | str = (),
    resize: Mapping[str, str] | None = None,
    optional: bool = False,
    reverse: bool = False,
    cast: str | None = None,
    with_optimizer: bool = False,
    optimizer: Any = None,
    optimizer_kind: str | None = None,
    hyperparams: Mapping[str, Any] | None = None,
    optimizer_name: str | None = None,
    optimizer_step: int | None = None,
    parameter_names: Sequence[str] | None = None,
) -> Transferred:
    """Bring the weights of one model into another: other names, other layouts, the same function.

    Arguments:
        source: a path, an open Checkpoint, a live model, or a tree of arrays; None and a path that does not exist
            are an absent source.
        like: what to fill, as `template_of` takes it: a live model, a tree of arrays or shapes, a checkpoint, a
            template.
        rules: a plan, or the path of a TOML file with one; what it leaves open is found.
        select: the part of the source to take, such as "encoder/**"; of several alternatives the first that is there.
        into: the parts of the target to fill, each with its own copy; the rest keeps the target's initial values.
        skip: patterns of names on either side that are left out on purpose: sources go nowhere, slots keep their
            initial values.
        resize: slots whose table has another size, and the source of each: what both have is copied, the rest keeps
            its initial values.
        optional: an absent source is a warning, and every slot keeps its initial value.
        reverse: `rules` (or the plan that is found) lead from `like` to `source`; go back.
        cast: a floating-point dtype for what is transferred, such as "bf16".
        with_optimizer: carry the training state too: optimizer slots, step, schedule position, averaged copies; what
            the target's framework cannot use is kept and named in the receipt.
        optimizer: the live optimizer, or the optax state, whose structure is filled; it implies `with_optimizer`.
        optimizer_kind: the rule that wrote the optimizer's state, where that allows several ("adamw").
        hyperparams: its hyperparameters, where the state does not hold them: an optax state needs `learning_rate`.
        optimizer_name: which of several saved optimizers is meant.
        optimizer_step: the number of updates that were made, where the file does not tell it (torch's SGD counts none).
        parameter_names: the names of a torch optimizer's parameters in the order of its groups, where the file does not
            tell them (`[name for name, p in model.named_parameters() if p.requires_grad]`).

    Raises:
        PlanError: something does not fit or is not settled; every such thing at once, and nothing is transferred.
        UsageError: a pattern matches nothing, or no alternative of `select` is there; lists what is. Or the rule of the
            optimizer, its learning rate, or the names of its parameters are not known.
        UnsupportedError: the other framework has no rule that continues the optimizer's state; says what to use.
        CheckpointError: the source cannot be opened.

    Example:
        >>> import numpy as np
        >>> source = {"encoder": {"w": np.ones(2, np.float32)}, "head": {"w": np.ones(3, np.float32)}}
        >>> like = {"left": {"w": np.zeros(2, np.float32)}, "right": {"w": np.zeros(2, np.float32)}}
        >>> print(transfer(source, like, select="encoder", into=["left", "right"]).receipt)
        Transferred 2 parameters into left (1 leaf)
        Transferred 2 parameters into right (1 leaf)
        from encoder of the source
        1 source outside of the selection (3 parameters)
    """
    request = request_of(rules, select, into, skip, resize, reverse, cast)
    target = target_of(like)
    if optional and is_absent(source):
        return _untouched(source, target)
    ckpt = opened(source)
    try:
        arrays = arrays_by_name(ckpt)
        title = ckpt.path or "the source"
        ready = prepared(request, _template(source, ckpt), target.template)
        applied = apply_plan(
            ready.plan,
            arrays,
            target,
            source=title,
            outside=ready.outside,
            kept=ready.kept,
            selected=ready.selected,
            parts=ready.parts,
            cast=request.cast,
        )
        tree, receipt, training = target.filled(applied.arrays), applied.receipt, None
        if with_optimizer or optimizer is not None:
            asked = OptimizerRequest(
                optimizer, optimizer_kind, hyperparams, optimizer_name, parameter_names, optimizer_step
            )
            training = training_of(ckpt, ready.plan, arrays, target, applied.arrays, asked, like)
            tree, receipt = training.tree, replace(receipt, notes=(*receipt.notes, *training.notes))
    except BaseException:
        if ckpt is not source:
            ckpt.close()
        raise
    return Transferred(tree, applied.arrays, receipt, ready.plan, target.template, ckpt, training)


@dataclass(frozen=True)
class Check:
    """Whether a source holds what a target needs.

    Arguments:
        source, target: what they are called.
        problems: everything that does not fit; nothing where all does.
        plan: the plan that would be applied.
    """

    source: str
    target: str
    problems: tuple[Problem, ...]
    plan: TransferPlan

    def __bool__(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        if not self.problems:
            return f"{self.source} holds what {self.target} needs"
        return "\n".join(
            [f"{self.source} does not hold what {self.target} needs", *(f"  {p}" for p in self.problems)]
        )


def verify(source: Any, like: Any, **request: Any) -> Check:
    """Say whether a source holds what a target needs, and what is missing; no weights are read.

    Arguments:
        source, like: as for `transfer`.
        request: its rules, select, into, skip, resize and reverse.

    Raises:
        UsageError: a pattern matches nothing, or no alternative of `select` is there.
        CheckpointError: the source cannot be opened.
    """
    asked = request_of(**request)
    template = template_of(like)
    ckpt = opened(source)
    try:
        arrays = arrays_by_name(ckpt)
        ready = prepared(asked, _template(source, ckpt), template)
        bound = check_plan(ready.plan, arrays, template, outside=ready.outside, kept=ready.kept)
        return Check(ckpt.path or "the source", template.title, tuple(bound.problems), ready.plan)
    finally:
        if ckpt is not source:
            ckpt.close()


def is_absent(source: Any) -> bool:
    """Say whether a source is None, or a path that is nowhere where paths are looked for."""
    if isinstance(source, (str, os.PathLike)):
        return not os.fspath(source) or search(source)[0] is None
    return source is None


def _untouched(source: Any, target: Target) -> Transferred:
    """The target as it is, for an absent source that was optional."""
    name = "no source" if source is None else os.fspath(source)
    warnings.warn(f"{name}: there is none; every slot keeps its initial value", UserWarning, stacklevel=3)
    kept = target.template.by_name()
    applied = apply_plan(TransferPlan(), {}, target, source=name, kept=kept, notes=("the source is absent",))
    return Transferred(
        target.filled(applied.arrays), applied.arrays, applied.receipt, TransferPlan(), target.template
    )


def _template(source: Any, ckpt: Checkpoint) -> Template:
    """What the source has; a live model tells more than its arrays."""
    is_file = isinstance(source, (str, os.PathLike, Checkpoint))
    return replace(template_of(ckpt if is_file else source), title=ckpt.path or "the source")
