"""The checkpoint that a call means: an open one, a path, or the latest of a directory of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ckpt_core.errors import UsageError
from ckpt_core.opening import open_checkpoint
from ckpt_core.paths import found
from ckpt_core.runs import Run
from ckpt_core.runs.scan import is_one_checkpoint
from ckpt_core.schema import Checkpoint

__all__ = ["opened"]


@contextmanager
def opened(
    ckpt: Checkpoint | str | os.PathLike[str], weights: str | None = None
) -> Iterator[tuple[Checkpoint, str]]:
    """Yield an open checkpoint, and how it was chosen; what was opened here is closed again.

    Raises:
        UsageError: `weights` for a checkpoint that is open already.
        CheckpointNotFoundError: the directory holds no whole checkpoint.
    """
    if isinstance(ckpt, Checkpoint):
        if weights is not None:
            raise UsageError(
                "weights= chooses when a checkpoint is opened", remedy="open_checkpoint(PATH, weights=...)."
            )
        yield ckpt, "passed open"
        return
    path, chosen = found(ckpt), "given by its path"
    if os.path.isdir(path) and not is_one_checkpoint(path):
        selection = Run(path).select()
        path, chosen = selection.path, f"{selection.rule}: {selection.reason}"
    with open_checkpoint(path, weights=weights) as own:
        yield own, chosen
