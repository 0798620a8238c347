"""What is no learned weight: counters, position numbers, masks, and buffers that a module computes."""

from __future__ import annotations

from typing import Final

from ckpt_core.dtypes import is_complex, is_float
from ckpt_core.framework import Slot

__all__ = ["is_unlearned"]

_STATISTICS: Final = frozenset({"running_mean", "running_var", "mean", "var"})


def is_unlearned(slot: Slot) -> bool:
    """Say whether an array is no learned weight: integers and booleans, and buffers besides running statistics."""
    is_number = is_float(slot.spec.dtype) or is_complex(slot.spec.dtype)
    return not is_number or (slot.role == "buffer" and slot.path[-1] not in _STATISTICS)
