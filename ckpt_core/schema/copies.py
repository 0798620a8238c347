"""Copies of the weights: which there are, and one in place of another."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from ckpt_core.errors import UsageError
from ckpt_core.layouts.base import RAW
from ckpt_core.view import Weights

__all__ = ["PREFIXES", "copy_named", "in_place_of"]

EMA: Final = "ema"
"""What a person may call the only averaged copy, whatever its name is."""

PREFIXES: Final = ("module", "_orig_mod")
"""First segments that wrappers put before every name (DataParallel, AveragedModel, torch.compile)."""


def copy_named(asked: str, own: str, others: Collection[str], path: str = "") -> str:
    """Return the name of the copy that is asked for.

    Arguments:
        asked: a name, or "ema" for the only averaged copy.
        own: the name of the copy that a checkpoint's `params` are.
        others: the names of the other copies.
        path: the checkpoint, for the error.

    Raises:
        UsageError: there is no such copy, or "ema" could mean several; lists those there are.
    """
    names = [own, *others]
    if asked in names:
        return asked
    averaged = [name for name in names if name != RAW]
    if asked == EMA and len(averaged) == 1:
        return averaged[0]
    several = asked == EMA and len(averaged) > 1
    raise UsageError(
        f"holds {len(averaged)} averaged copies of the weights"
        if several
        else f"holds no copy {asked!r} of the weights",
        path=path or None,
        remedy=f"Copies here: {', '.join(names)}.",
    )


def in_place_of(weights: Weights, copy: Weights) -> tuple[Weights, int]:
    """Return a copy of the weights under the names of the others, and how many of its arrays are theirs.

    A copy may hold less than a model has (an average of the parameters has no buffers): what it lacks is taken
    from the others. A copy may put `module` before its names, and counters of its own beside them.

    Arguments:
        weights: the weights that stand in a checkpoint's `params` and `buffers`.
        copy: the other copy.
    """
    averaged = {_bare(segments): array for segments, array, _ in copy}
    names = {_bare(segments) for segments, _, _ in weights}
    if names.isdisjoint(averaged):
        return copy, 0
    merged = [
        (segments, averaged.get(_bare(segments), array), is_buffer) for segments, array, is_buffer in weights
    ]
    merged += [entry for entry in copy if _bare(entry[0]) not in names and entry[1].shape]
    return merged, len(names - averaged.keys())


def _bare(segments: tuple[str, ...]) -> tuple[str, ...]:
    """The name without what wrappers put before it."""
    start = 0
    while start < len(segments) - 1 and segments[start] in PREFIXES:
        start += 1
    return segments[start:]
