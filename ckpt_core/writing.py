"""Writing: a tree fitted to a backend and committed under the target's name."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Backend, Stored
from ckpt_core.casting import is_overflown, what_is_infinite
from ckpt_core.errors import (
    AmbiguousFormatError,
    CheckpointError,
    LossError,
    TargetError,
    UnknownFormatError,
    UsageError,
)
from ckpt_core.fitting.fit import Fitted, fit
from ckpt_core.fitting.ledger import Remark
from ckpt_core.opening.detect import open_source
from ckpt_core.registry import registry
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_core.tree import KeyPath, children, flatten, map_with_path, render_path

__all__ = ["Progress", "arrays_of", "same_bytes", "target_backend", "write"]

_SHOWN: Final = 5

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""


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
    fitted = fit(stored, backend.holds, ties)
    if strict:
        _refuse_losses(fitted.losses, backend, target)
    if force:
        _check_replaceable(target)
    total = sum(array.nbytes for array in arrays_of(fitted.stored.tree))
    done = 0

    def report(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        if progress is not None:
            progress(min(done, total), total)

    with Sink(target, force=force, progress=report) as sink:
        backend.save(fitted.stored, sink, options or {})
        beyond = _beyond_their_dtypes(stored.tree)
        if strict:
            _refuse_losses(beyond, backend, target)
    return replace(fitted, losses=(*fitted.losses, *beyond))


def _refuse_losses(losses: tuple[Remark, ...], backend: Backend, target: str | os.PathLike[str]) -> None:
    count = len(losses)
    if not count:
        return
    lines = "\n    ".join(map(str, losses[:20]))
    more = f"\n    and {count - 20} more" if count > 20 else ""
    raise LossError(
        f"{backend.name} cannot hold {count} thing{'s' if count > 1 else ''}",
        path=target,
        remedy=f"Not held:\n    {lines}{more}",
    )


def _beyond_their_dtypes(tree: Any) -> tuple[Remark, ...]:
    """Name the cast arrays with numbers that became infinite or NaN, as is known once they were written."""
    return tuple(
        Remark(render_path(path), f"numbers beyond {leaf.dtype}, written as {_beyond(leaf.dtype)}")
        for path, leaf in flatten(tree)
        if isinstance(leaf, LazyArray) and is_overflown(leaf)
    )


def _beyond(dtype: str) -> str:
    return "its nearest" if math.isfinite(what_is_infinite(dtype)) else "infinity or NaN"


def target_backend(target: str | os.PathLike[str], to: str | None) -> Backend:
    """Return the backend that writes a target, by name or by suffix.

    Raises:
        UnknownFormatError: no writable backend has that name or suffix; lists those there are.
        AmbiguousFormatError: two backends write that suffix.
    """
    writable = sorted({b.name for _, b in registry().backends if b.holds is not None})
    if not os.fspath(target):
        raise UsageError("an empty path names no target", remedy="Is a variable not set?")
    if to is not None:
        return _named(to, writable)
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
    suffix = os.path.splitext(os.fspath(target))[1].lower()
    readers = [b.name for _, b in registry().backends if b.holds is None and suffix in b.suffixes]
    raise UnknownFormatError(
        f"the format {readers[0]!r} can only be read"
        if readers
        else "the name does not tell the target format",
        path=target,
        remedy=f"Name {'another' if readers else 'it'} with to= (--to): {', '.join(writable)}.{registry().broken_text()}",
    )


def _named(to: str, writable: list[str]) -> Backend:
    try:
        backend = registry().backend(to)
    except UnknownFormatError as error:
        near = difflib.get_close_matches(to, writable, 1)
        meant = f"Did you mean {near[0]}? " if near else ""
        error.remedy = f"{meant}To write: {', '.join(writable)}.{registry().broken_text()}"
        raise
    if backend.holds is None:
        raise UnknownFormatError(
            f"the format {to!r} can only be read", remedy=f"To write: {', '.join(writable)}."
        )
    return backend


def arrays_of(tree: Any) -> list[LazyArray]:
    """Return the arrays of a tree, in order; those of a container that stands in several places once."""
    found: list[LazyArray] = []
    stack = [tree]
    seen: set[int] = set()
    while stack:
        node = stack.pop()
        if isinstance(node, LazyArray):
            found.append(node)
            continue
        if id(node) not in seen:  # asked first: a container may stand in itself very many times
            pairs = children(node)
            if pairs:
                seen.add(id(node))
                stack.extend([child for _, child in reversed(pairs)])
    return found


def _check_replaceable(target: str | os.PathLike[str]) -> None:
    """Let `force` replace a directory only when it is a checkpoint as a whole and nothing else, or empty."""
    if not os.path.isdir(target) or os.path.islink(target) or not os.listdir(target):
        return
    foreign: tuple[str, ...] = ()
    try:
        with Source(target) as source:
            opened = open_source(source, registry())
            foreign = opened.foreign or registry().foreign(opened.format, source)
            if opened.format != "directory" and not foreign:
                return
    except CheckpointError:
        pass
    if foreign:
        more = f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else ""
        raise TargetError(
            f"holds what is no part of the checkpoint, and is not replaced: {', '.join(foreign[:_SHOWN])}{more}",
            path=target,
            remedy="Move it elsewhere, or write to another name.",
        )
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
