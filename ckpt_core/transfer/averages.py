"""Other copies of the weights (averages) on the way of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.framework import Template
from ckpt_core.schema import Checkpoint
from ckpt_core.transfer.plan import TransferPlan
from ckpt_core.transfer.sides import arranged
from ckpt_core.transfer.slots import moved_arrays

__all__ = ["averaged_copies"]


def averaged_copies(
    ckpt: Checkpoint, plan: TransferPlan, sources: Mapping[str, LazyArray], template: Template
) -> tuple[dict[str, Any], list[str]]:
    """Return the other copies of the weights in the target's layouts, by name, and what of them is left behind."""
    made, notes = {}, []
    for name, copy in ckpt.ema.items():
        arrays = _without_wrapper(dict(copy.leaves()), sources)
        moved = moved_arrays(plan, sources, template, arrays)
        if moved:
            made[name] = _in_form(template, moved)
        left = [key for key in arrays if key not in sources]
        lacking = sum(key not in arrays for key in sources)
        if left or lacking:
            more = f", which lacks {lacking:,} of the weights" if lacking else ""
            notes.append(f"of the copy {name}{more}, {', '.join(left[:4]) or 'nothing'} is left behind")
    return made, notes


def _without_wrapper(
    arrays: Mapping[str, LazyArray], sources: Mapping[str, LazyArray]
) -> dict[str, LazyArray]:
    """A copy under the names of the weights: torch's AveragedModel puts `module` before them, Flax its collections."""
    if any(name in sources for name in arrays):
        return dict(arrays)
    short = {name: name.partition("/")[2] for name in arrays}
    fits = sum(name in sources for name in short.values())
    return {(short[n] if fits and short[n] in sources else n): array for n, array in arrays.items()}


def _in_form(template: Template, arrays: Mapping[str, LazyArray]) -> Any:
    made = arranged(template, arrays)
    return made["params"] if template.framework == "flax" and len(made) == 1 else made
