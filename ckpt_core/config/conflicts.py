"""What happens to a config that contradicts the shapes: an error, a warning with the corrected one, or a report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar

from ckpt_core.config.result import ConfigWarning, Conflict
from ckpt_core.errors import ConfigConflictError, DataConflictError, UsageError

__all__ = ["OnConflict", "corrections", "decide"]

OnConflict: TypeAlias = Literal["raise", "correct", "warn", "report"]
"""An error; a warning, and the corrected config; a warning, and the config as it was said; neither, for programs."""

T = TypeVar("T")

_CALLER = 4
"""Frames from here to whoever called the public function."""


def corrections(conflicts: Sequence[Conflict]) -> dict[str, int] | None:
    """Return what the conflicting fields have to be, or None where a conflict has no single answer."""
    found = {}
    for conflict in conflicts:
        is_data = conflict.given is not None and conflict.given.source == "data"
        if conflict.correct is None or is_data:
            return None
        found[conflict.field] = conflict.correct
    return found


def decide(
    conflicts: Sequence[Conflict],
    on_conflict: OnConflict,
    make: Callable[[Mapping[str, int]], T],
    path: str,
    config_of: Callable[[T], Any] = lambda made: made,
) -> T:
    """Return what to go on with, or raise.

    Arguments:
        conflicts: what does not agree.
        on_conflict: what the caller wants.
        make: makes the result, with some fields corrected.
        path: the checkpoint, for messages.
        config_of: the config in a result, which the error offers.

    Raises:
        ConfigConflictError: there are conflicts, and the caller wants an error or a correction that none has.
        DataConflictError: likewise, and the data contradicts the checkpoint.
    """
    if on_conflict not in ("raise", "correct", "warn", "report"):
        raise UsageError(f"on_conflict={on_conflict!r} is none of raise, correct, warn, report")
    if not conflicts or on_conflict == "report":
        return make({})
    fixes = corrections(conflicts)
    if on_conflict == "warn" or (on_conflict == "correct" and fixes is not None):
        fixes = fixes if on_conflict == "correct" and fixes is not None else {}
        ending = "".join(f"; taken: {name} = {value}" for name, value in fixes.items())
        where = f"{path}: " if path else ""
        warnings.warn(f"{where}{_listed(conflicts)}{ending}", ConfigWarning, stacklevel=_CALLER)
        return make(fixes)
    corrected = None if fixes is None else config_of(make(fixes))
    is_data = any(conflict.given is not None and conflict.given.source == "data" for conflict in conflicts)
    kind = DataConflictError if is_data else ConfigConflictError
    raise kind(
        _listed(conflicts),
        tuple(conflicts),
        corrected=corrected,
        path=path or None,
        remedy=_remedy(fixes, is_data),
    )


def _listed(conflicts: Sequence[Conflict]) -> str:
    if len(conflicts) == 1:
        return str(conflicts[0])
    lines = [f"\n    {conflict}" for conflict in conflicts[:20]]
    more = f"\n    and {len(conflicts) - 20} more" if len(conflicts) > 20 else ""
    return f"{len(conflicts)} contradictions{''.join(lines)}{more}"


def _remedy(fixes: Mapping[str, int] | None, is_data: bool) -> str:
    if is_data:
        return "The data is not what the checkpoint was trained on; on_conflict='warn' goes on all the same."
    if fixes is None:
        return "Give the right values as overrides, or correct the shape rules."
    said = ", ".join(f"{name}={value}" for name, value in fixes.items())
    return f"Set {said}: the error's `corrected` is that config, and on_conflict='correct' takes it with a warning."
