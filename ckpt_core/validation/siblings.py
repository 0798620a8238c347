"""Other checkpoints of the same run that would fit."""

from __future__ import annotations

import contextlib
import os
from typing import Final

from ckpt_core.errors import CheckpointError
from ckpt_core.framework import OptimizerTemplate, Template
from ckpt_core.opening import open_checkpoint
from ckpt_core.runs.scan import has_checkpoint_name, is_one_checkpoint
from ckpt_core.validation.leaves import compared, expected_by_key, found_by_key, optional_names
from ckpt_core.validation.optimizers import match_optimizer

__all__ = ["fitting_siblings"]

_LISTED: Final = 2000
_OPENED: Final = 16
"""How many checkpoints beside the one that does not fit are opened, the newest first."""


def fitting_siblings(
    path: str, template: Template, wanted: OptimizerTemplate | None = None, optimizer_name: str | None = None
) -> tuple[str, ...]:
    """Return the checkpoints beside one that fit a model, and its optimizer, in everything; reads structure alone.

    Arguments:
        path: the checkpoint that does not fit, or "" for one in memory.
        template: what the model expects.
        wanted: what its optimizer expects, or None.
        optimizer_name: which of several saved optimizers is meant.
    """
    if not path:
        return ()
    own = os.path.realpath(path)
    folder = os.path.dirname(os.path.abspath(path.rstrip("/")))
    expected = expected_by_key(template)
    order = [slot.name for slot in template.slots if slot.role == "param"]
    fitting = []
    for candidate in _beside(folder, own):
        # One that cannot be read fits nothing; the report is about the one that was asked for.
        with contextlib.suppress(CheckpointError, OSError), open_checkpoint(candidate) as ckpt:
            found = {name: array.spec for name, (array, _) in found_by_key(ckpt).items()}
            if compared(found, expected, optional_names(template, found).values()).problems:
                continue
            if wanted is None or not match_optimizer(ckpt, wanted, order, name=optimizer_name).problems:
                fitting.append(candidate)
    return tuple(sorted(fitting))


def _beside(folder: str, own: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            listed = [entry for _, entry in zip(range(_LISTED), entries, strict=False)]
        aged = sorted(((entry.stat().st_mtime, entry.path) for entry in listed), reverse=True)
    except OSError:
        return []
    others = [path for _, path in aged if os.path.realpath(path) != own]
    return [path for path in others if _is_checkpoint(path)][:_OPENED]


def _is_checkpoint(path: str) -> bool:
    return is_one_checkpoint(path) if os.path.isdir(path) else has_checkpoint_name(os.path.basename(path))
