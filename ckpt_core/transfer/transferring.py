"""transfer: from a source into a target, by a plan that is given, found, or both."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.fit import Fitted
from ckpt_core.framework import Template
from ckpt_core.schema import Checkpoint
from ckpt_core.template import template_of
from ckpt_core.transfer.applying import apply_plan, check_plan
from ckpt_core.transfer.binding import Problem
from ckpt_core.transfer.plan import TransferPlan
from ckpt_core.transfer.preparing import prepared, request_of
from ckpt_core.transfer.receipt import Receipt
from ckpt_core.transfer.sides import Target, arrays_by_name, opened, target_of
from ckpt_core.tree import map_with_path
from ckpt_core.writing import Progress, target_backend, write

__all__ = ["Check", "Transferred", "transfer", "verify"]


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
    """

    tree: Any
    arrays: Mapping[str, LazyArray]
    receipt: Receipt
    plan: TransferPlan
    template: Template
    source: Checkpoint | None = None

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
        options: Mapping[str, object] | None = None,
    ) -> Fitted:
        """Write the tree as a checkpoint, atomically, tile by tile; the arguments are those of `convert`."""
        backend = target_backend(path, to)
        label = {"torch": "pt"}.get(self.template.framework, self.template.framework)
        attributes = {backend.framework_key: label} if backend.framework_key and label else {}
        stored = Stored(self.tree, attributes)
        return write(stored, path, backend, strict=strict, force=force, progress=progress, options=options)

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

    Raises:
        PlanError: something does not fit or is not settled; every such thing at once, and nothing is transferred.
        UsageError: a pattern matches nothing, or no alternative of `select` is there; lists what is.
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
    if optional and _is_absent(source):
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
    except BaseException:
        if ckpt is not source:
            ckpt.close()
        raise
    return Transferred(
        target.filled(applied.arrays), applied.arrays, applied.receipt, ready.plan, target.template, ckpt
    )


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


def _is_absent(source: Any) -> bool:
    return source is None or (isinstance(source, (str, os.PathLike)) and not os.path.exists(source))


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
