"""convert: another container for the same tree, leaf by leaf, with a receipt of what happened to each."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpt_core.backend import Backend, Stored
from ckpt_core.errors import UsageError
from ckpt_core.fitting.ledger import Remark
from ckpt_core.opening import open_checkpoint
from ckpt_core.registry import registry
from ckpt_core.rendering.html import note_html, section_html, table_html
from ckpt_core.rendering.text import arrays_text, size_text
from ckpt_core.schema import Checkpoint
from ckpt_core.select import Selection, selected
from ckpt_core.template import label_of
from ckpt_core.tree import KeyPath, flatten, get
from ckpt_core.writing import Progress, arrays_of, target_backend, write

__all__ = ["Receipt", "convert"]


@dataclass(frozen=True)
class Receipt:
    """What a conversion did.

    Arguments:
        source, target: the paths.
        source_format, target_format: the names of the backends.
        arrays: the number of arrays written.
        nbytes: their bytes.
        carried: values that the container cannot hold and that travel in its metadata; they come back exactly.
        losses: what the target cannot hold.
        left: what was left behind by request.
        notes: what else there is to know.
        seconds: how long it took.
    """

    source: str
    target: str
    source_format: str
    target_format: str
    arrays: int
    nbytes: int
    carried: tuple[Remark, ...] = ()
    losses: tuple[Remark, ...] = ()
    left: tuple[Remark, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def _repr_html_(self) -> str:
        rows = [
            ("from", f"{self.source} ({self.source_format})"),
            ("to", f"{self.target} ({self.target_format})"),
            ("written", f"{arrays_text(self.arrays)}, {size_text(self.nbytes)}"),
        ]
        remarks = [("carried", self.carried), ("lost", self.losses), ("left behind", self.left)]
        rows += [(title, f"{remark.path}: {remark.text}") for title, found in remarks for remark in found]
        return section_html("converted", table_html((), rows), *map(note_html, self.notes))


def convert(
    source: str | os.PathLike[str] | Checkpoint,
    target: str | os.PathLike[str],
    *,
    to: str | None = None,
    format: str | None = None,
    source_layout: str | None = None,
    step: int | None = None,
    weights: str | None = None,
    only: Sequence[str] | str = (),
    select: Sequence[str] | str = (),
    strip_prefix: str | None = None,
    cast: str | None = None,
    layout: str | None = None,
    unreplicate: bool = False,
    strict: bool = False,
    force: bool = False,
    verify: bool = True,
    follow_symlinks: bool = False,
    progress: Progress | None = None,
    options: Mapping[str, object] | None = None,
) -> Receipt:
    """Write a checkpoint into another container: every name, shape, dtype and byte stays.

    Arguments:
        source: a path, or an open Checkpoint.
        target: the file or directory to make; it appears whole or not at all.
        to: the target format; without it the suffix of `target` decides.
        format: the source format, where two backends claim the file.
        source_layout: the layout of the source, where the recognised one is not meant.
        step: which step of a directory of steps to convert.
        weights: which copy of the weights `only` and `layout` take for params and buffers: "raw", "ema", or a name.
        only: "params", "buffers", "weights" (params and buffers), "ema" or the name of another copy of the weights,
            under the model's own names.
        select: patterns of names to keep, such as "encoder/**".
        strip_prefix: a prefix to remove from the weights' names, such as "module".
        cast: a floating-point dtype for the weights, such as "bf16".
        layout: write what the schema holds as this layout's tree instead.
        unreplicate: write one copy of leaves that pmap replicated, once they are proven equal.
        strict: anything that the target cannot hold is an error, and leaves no file.
        force: replace an existing target.
        verify: check the source's checksums on the way.
        follow_symlinks: follow links that lead out of a source directory.
        progress: called with (bytes done, bytes in all).
        options: passed to the target's backend (safetensors: max_shard_size).

    Raises:
        LossError: `strict`, and the target cannot hold something; names it.
        TargetError: the target exists, or cannot be written.
        CheckpointError: the source cannot be opened or is damaged.
    """
    if weights is not None and not only and layout is None:
        raise UsageError(
            "without only= or layout= every copy of the weights is written, and weights= chooses nothing",
            remedy='Say what to write, for example only="weights" (--only weights).',
        )
    backend = target_backend(target, to)
    started = time.perf_counter()
    opened = source if isinstance(source, Checkpoint) else None
    ckpt = opened or open_checkpoint(
        os.fspath(source),  # type: ignore[arg-type]  # a Checkpoint was told apart above
        format=format,
        layout=source_layout,
        step=step,
        weights=weights,
        verify=verify,
        follow_symlinks=follow_symlinks,
    )
    try:
        _check_apart(ckpt.path, target)
        asked = Selection(
            only=(only,) if isinstance(only, str) else tuple(only),
            select=(select,) if isinstance(select, str) else tuple(select),
            strip_prefix=strip_prefix,
            cast=cast,
            layout=layout,
            unreplicate=unreplicate,
        )
        tree, left = selected(ckpt, asked)
        stored = Stored(tree, _labelled(ckpt, backend))
        fitted = write(
            stored,
            target,
            backend,
            ties=_ties(ckpt, tree),
            strict=strict,
            force=force,
            progress=progress,
            options=options,
        )
        arrays = arrays_of(fitted.stored.tree)
        return Receipt(
            source=ckpt.path,
            target=os.path.abspath(os.fspath(target)),
            source_format=ckpt.format,
            target_format=backend.name,
            arrays=len(arrays),
            nbytes=sum(array.nbytes for array in arrays),
            carried=fitted.carried,
            losses=fitted.losses,
            left=left,
            notes=(*ckpt.stored.notes, *ckpt.roles.notes, *fitted.notes),
            seconds=time.perf_counter() - started,
        )
    finally:
        if opened is None:
            ckpt.close()


def _ties(ckpt: Checkpoint, tree: Any) -> tuple[tuple[KeyPath, ...], ...]:
    """Return where, in the tree to write, the arrays stand that were tied before a container separated them."""
    if tree is ckpt.tree or not ckpt.declared_ties:
        return ckpt.declared_ties
    places = {id(leaf): path for path, leaf in flatten(tree)}
    arrays = [[id(get(ckpt.tree, path)) for path in group] for group in ckpt.declared_ties]
    return tuple(tuple(places[one] for one in group if one in places) for group in arrays)


def _check_apart(source: str, target: str | os.PathLike[str]) -> None:
    """Refuse a target that contains its source or lies inside of it."""
    if not source:
        return
    ours, theirs = os.path.realpath(source), os.path.realpath(target)
    if ours.startswith(theirs + os.sep) or theirs.startswith(ours + os.sep):
        raise UsageError(f"the target lies inside of the source, or around it: {source}", path=target)


def _labelled(ckpt: Checkpoint, target: Backend) -> dict[str, Any]:
    """The source's metadata, with the framework named where readers of the target look for it."""
    attributes = dict(ckpt.stored.attributes)
    label = label_of(ckpt)
    if target.framework_key and label:
        attributes.setdefault(target.framework_key, label)
    source = next((backend for _, backend in registry().backends if backend.name == ckpt.format), None)
    key = source.framework_key if source is not None and not target.framework_key else ""
    if key and target.framework and attributes.get(key) == target.framework:
        del attributes[key]  # the target's own format says so already
    return attributes
