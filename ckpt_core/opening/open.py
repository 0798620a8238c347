"""open_checkpoint: from a path to a Checkpoint."""

from __future__ import annotations

import os
from numbers import Integral
from typing import Any

from ckpt_core.backend import Stored
from ckpt_core.collector import paused_collector
from ckpt_core.errors import CheckpointError, UnknownFormatError, UsageError
from ckpt_core.layouts import BUILTIN, Layout, Roles, recognise
from ckpt_core.layouts.averaged import with_inner_copies
from ckpt_core.layouts.standing import standing
from ckpt_core.opening.detect import open_source
from ckpt_core.paths import found
from ckpt_core.registry import registry
from ckpt_core.schema import Checkpoint
from ckpt_core.source import Source

__all__ = ["checkpoint_of", "layout_named", "layouts", "open_checkpoint"]


def open_checkpoint(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    layout: str | None = None,
    step: int | None = None,
    weights: str | None = None,
    verify: bool = True,
    follow_symlinks: bool = False,
) -> Checkpoint:
    """Open a checkpoint of any format: the structure is read, nothing in it is run.

    Arguments:
        path: a file or a directory; a relative one is looked for as `ckpt_core.paths` says.
        format: the name of the backend, where two claim the file.
        layout: the name of the layout, where the recognised one is not meant.
        step: which step of a directory of steps to open.
        weights: which copy of the weights `params` and `buffers` are to be, where there are several: "raw", "ema"
            for the only averaged copy, or the name of one.
        verify: check the checksums that the format carries before bytes are handed on.
        follow_symlinks: follow links inside a directory that lead out of it.

    Returns:
        A Checkpoint, to be used in a `with` block or closed.

    Raises:
        CheckpointNotFoundError: there is no such file.
        UnknownFormatError: no backend recognises it; says what was tried.
        AmbiguousFormatError: two backends claim it.
        MissingDependencyError: a library that the format needs is not installed.
        DamagedFileError: the bytes contradict themselves.
        UsageError: it has no such step, layout or copy of the weights; lists those there are.

    Example:
        with open_checkpoint("model.pth") as ckpt:
            ckpt.params["encoder/conv1/weight"][:8]
    """
    path = found(path)
    source = Source(path, verify=verify, follow_symlinks=follow_symlinks)
    try:
        opened = open_source(source if step is None else _step_of(source, step), registry(), format)
        return checkpoint_of(
            opened.stored,
            layout=layout,
            weights=weights,
            format=opened.format,
            path=os.fspath(path),
            source=source,
            tied=opened.tied,
            members=opened.members,
            broken=opened.broken,
        )
    except CheckpointError as error:
        source.close()
        error.located(path)
        raise
    except BaseException:
        source.close()
        raise


def checkpoint_of(stored: Stored, *, layout: str | None = None, **where: Any) -> Checkpoint:
    """Return the Checkpoint of a tree, its layout recognised or named."""
    with paused_collector():
        row, roles = _recognise(stored.tree, layout)
    return Checkpoint(stored, roles, layout=row.name if row else None, **where)


def layouts() -> list[Layout]:
    """Return every known layout, those of plugins first."""
    return [*(layout for _, layout in registry().layouts), *BUILTIN]


def layout_named(name: str) -> Layout:
    """Return the layout of that name; raises UnknownFormatError with the list of those there are."""
    for row in layouts():
        if row.name == name:
            return row
    known = ", ".join(row.name for row in layouts())
    raise UnknownFormatError(f"unknown layout {name!r}", remedy=f"Known layouts: {known}.")


def _recognise(tree: Any, name: str | None) -> tuple[Layout | None, Roles]:
    if name is None:
        return recognise(tree, layouts())
    row = layout_named(name)
    roles = row.recognise(tree)
    if roles is None:
        raise UsageError(f"is not arranged as {name} ({row.describes})")
    return row, with_inner_copies(tree, standing(tree, roles))


def _step_of(source: Source, step: Any) -> Source:
    """Return the member of a directory of steps whose name ends in that number."""
    if not isinstance(step, Integral):
        raise UsageError(f"step= takes a number, not {step!r}", path=source.path)
    found = [name for name in source.members() if _number_at_end(name) == step]
    exact = [name for name in found if name == str(step)] or found
    if len(exact) == 1:
        return source.member(exact[0])
    steps = sorted(n for n in map(_number_at_end, source.members()) if n is not None)
    known = ", ".join(map(str, steps[-20:])) or "none"
    problem = (
        f"has no step {step}" if not exact else f"has several members for step {step}: {', '.join(exact)}"
    )
    raise UsageError(problem, path=source.path, remedy=f"Steps here: {known}.")


def _number_at_end(name: str) -> int | None:
    if "orbax-checkpoint-tmp" in name:
        return None
    stem = name.split(".", maxsplit=1)[0]
    digits = stem[len(stem.rstrip("0123456789")) :]
    return int(digits) if 0 < len(digits) < 19 else None
