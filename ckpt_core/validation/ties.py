"""Arrays that are one in the model and two in the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ckpt_core.arrays import LazyArray
from ckpt_core.framework import Template
from ckpt_core.keypath import join_name
from ckpt_core.validation.report import Problem

__all__ = ["tied_problems"]

_BLOCK: Final = 1 << 20
"""Elements that are compared at a time."""


def tied_problems(template: Template, sources: Mapping[str, LazyArray]) -> tuple[Problem, ...]:
    """Return the tied slots whose arrays differ in the checkpoint, so that one would overwrite the other.

    Reads the bytes of tied slots that the checkpoint holds twice, and no others.
    """
    problems = []
    for slot in template.slots:
        if slot.tied is None:
            continue
        first = join_name(slot.tied)
        mine, other = sources.get(slot.name), sources.get(first)
        if mine is None or other is None or _is_same(mine, other):
            continue
        said = f"another array than {first}"
        problems.append(Problem("tied", slot.name, said, f"tied to {first}", slot.role))
    return tuple(problems)


def _is_same(mine: LazyArray, other: LazyArray) -> bool:
    if mine is other or (mine.identity is not None and mine.identity == other.identity):
        return True
    if mine.spec != other.spec:
        return False
    blocks = ((start, min(start + _BLOCK, mine.size)) for start in range(0, mine.size, _BLOCK))
    return all(mine.elements(*block).tobytes() == other.elements(*block).tobytes() for block in blocks)
