"""convert: another container for the same tree, leaf by leaf, with a receipt of what happened to each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Backend, Stored
from ckpt_core.detect import open_source
from ckpt_core.errors import (
    AmbiguousFormatError,
    CheckpointError,
    LossError,
    TargetError,
    UnknownFormatError,
    UsageError,
)
from ckpt_core.fit import Fitted, Remark, fit
from ckpt_core.opening import open_checkpoint
from ckpt_core.registry import registry
from ckpt_core.schema import Checkpoint
from ckpt_core.select import Selection, selected
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_core.tree import KeyPath, flatten, map_with_path

__all__ = ["Receipt", "convert", "target_backend", "write"]

Progress = Callable[[int, int], None]


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


def convert(
    source: str | os.PathLike[str] | Checkpoint,
    target: str | os.PathLike[str],
    *,
    to: str | None = None,
    format: str | None = None,
    step: int | None = None,
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
        step: which step of a directory of steps to convert.
        only: "params", "buffers", "ema" or "weights" (params and buffers), under the model's own names.
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
    backend = target_backend(target, to)
    started = time.perf_counter()
    opened = source if isinstance(source, Checkpoint) else None
    ckpt = opened or open_checkpoint(
        os.fspath(source),  # type: ignore[arg-type]  # a Checkpoint was told apart above
        format=format,
        step=step,
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
        stored = Stored(tree, ckpt.stored.attributes)
        ties = ckpt.declared_ties if tree is ckpt.tree else ()
        fitted = write(
            stored, target, backend, ties=ties, strict=strict, force=force, progress=progress, options=options
        )
        arrays = _arrays(fitted.stored.tree)
        return Receipt(
            source=ckpt.path,
            target=os.fspath(target),
            source_format=ckpt.format,
            target_format=backend.name,
            arrays=len(arrays),
            nbytes=sum(array.nbytes for array in arrays),
            carried=fitted.carried,
            losses=fitted.losses,
            left=left,
            notes=ckpt.metadata.notes,
            seconds=time.perf_counter() - started,
        )
    finally:
        if opened is None:
            ckpt.close()


def write(
    stored: Stored,
    target: str | os.PathLike[str],
    backend: Backend,
    *,
    ties: tuple[tuple[KeyPath, ...], ...] = (),
    strict: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    options: Mapping[str, object] | None = None,
) -> Fitted:
    """Fit a tree to a backend and write it, atomically; returns what was written.

    Raises:
        LossError: `strict`, and the target cannot hold something.
        TargetError: the target exists, cannot be written, or is a directory that is no checkpoint.
        UsageError: the backend does not write, or has no such option.
    """
    if backend.holds is None:
        raise UsageError(f"the format {backend.name} can only be read")
    unknown = [name for name in options or {} if name not in backend.options]
    if unknown:
        known = ", ".join(backend.options) or "none"
        raise UsageError(f"{backend.name} has no option {unknown[0]}", remedy=f"Its options: {known}.")
    if ties and backend.holds.sharing:
        stored = Stored(_retied(stored.tree, ties), stored.attributes)
    fitted = fit(stored, backend.holds)
    if strict and fitted.losses:
        lines = "\n    ".join(map(str, fitted.losses[:20]))
        more = f"\n    and {len(fitted.losses) - 20} more" if len(fitted.losses) > 20 else ""
        raise LossError(
            f"{backend.name} cannot hold {len(fitted.losses)} things",
            path=target,
            remedy=f"They are:\n    {lines}{more}",
        )
    if force:
        _check_replaceable(target)
    total = sum(array.nbytes for array in _arrays(fitted.stored.tree))
    done = 0

    def report(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        if progress is not None:
            progress(min(done, total), total)

    with Sink(target, force=force, progress=report) as sink:
        backend.save(fitted.stored, sink, options or {})
    return fitted


def target_backend(target: str | os.PathLike[str], to: str | None) -> Backend:
    """Return the backend that writes a target, by name or by suffix.

    Raises:
        UnknownFormatError: no writable backend has that name or suffix; lists those there are.
        AmbiguousFormatError: two backends write that suffix.
    """
    writable = sorted({b.name for _, b in registry().backends if b.holds is not None})
    if to is not None:
        backend = registry().backend(to)
        if backend.holds is None:
            raise UnknownFormatError(
                f"the format {to!r} can only be read", remedy=f"To write: {', '.join(writable)}."
            )
        return backend
    fits = registry().for_suffix(os.fspath(target).rstrip("/"))
    if len(fits) == 1:
        return fits[0]
    if fits:
        names = " and ".join(b.name for b in fits)
        raise AmbiguousFormatError(
            f"{names} both write such names",
            path=target,
            remedy=f"Say which: to={fits[0].name!r} (--to {fits[0].name}).",
        )
    raise UnknownFormatError(
        "the name does not tell the target format",
        path=target,
        remedy=f"Name it with to= (--to): {', '.join(writable)}.",
    )


def _arrays(tree: Any) -> list[LazyArray]:
    return [leaf for _, leaf in flatten(tree) if isinstance(leaf, LazyArray)]


def _check_apart(source: str, target: str | os.PathLike[str]) -> None:
    """Refuse a target that contains its source or lies inside of it."""
    if not source:
        return
    ours, theirs = os.path.realpath(source), os.path.realpath(target)
    if ours.startswith(theirs + os.sep) or theirs.startswith(ours + os.sep):
        raise UsageError(f"the target lies inside of the source, or around it: {source}", path=target)


def _check_replaceable(target: str | os.PathLike[str]) -> None:
    """Let `force` replace a directory only when it is a checkpoint as a whole, or empty."""
    if not os.path.isdir(target) or os.path.islink(target) or not os.listdir(target):
        return
    try:
        with Source(target) as source:
            if open_source(source, registry()).format != "directory":
                return
    except CheckpointError:
        pass
    raise TargetError(
        "is a directory that is no checkpoint as a whole, and is not replaced",
        path=target,
        remedy="Remove it yourself, or write to another name.",
    )


def _retied(tree: Any, ties: tuple[tuple[KeyPath, ...], ...]) -> Any:
    """Let arrays that were tied before share one storage again, where their bytes are still equal."""
    leaves = dict(flatten(tree))
    shared: dict[KeyPath, LazyArray] = {}
    for group in ties:
        first, *others = [(path, leaves.get(path)) for path in group]
        for path, array in others:
            if (
                isinstance(array, LazyArray)
                and isinstance(first[1], LazyArray)
                and same_bytes(first[1], array)
            ):
                shared[path] = first[1]
    return map_with_path(shared.get, tree) if shared else tree


def same_bytes(a: LazyArray, b: LazyArray) -> bool:
    """Say whether two arrays have the same shape, dtype and bytes, reading both in step."""
    if a.spec != b.spec:
        return False
    if a.identity is not None and a.identity == b.identity:
        return True
    return all(x == y for x, y in zip(a.tiles(), b.tiles(), strict=True))
