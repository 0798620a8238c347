"""hints_of: numbers in a file's name, and what they fit."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Final

from ckpt_core.config.result import Hint
from ckpt_core.shapes import Leaf

__all__ = ["hints_of"]

_NUMBER: Final = re.compile(r"(?<![0-9.])[0-9]{1,7}(?![0-9])")
_SHOWN: Final = 4


def hints_of(path: str, possible: Mapping[str, Sequence[int]], leaves: Sequence[Leaf]) -> tuple[Hint, ...]:
    """Return the numbers in the name of a file, with the fields that they fit.

    Where they fit no field, the axes of arrays that have that size are named.

    Arguments:
        path: the file; only its name counts.
        possible: the values that each field has or could have.
        leaves: the checkpoint's arrays.

    Example:
        >>> hints_of("slot_attention_32.pth", {"num_slots": (32,), "slot_dim": (64,)}, [])
        (Hint(number=32, fields=('num_slots',)),)
    """
    stem = os.path.basename(path.rstrip("/")).split(".", maxsplit=1)[0]
    found = []
    for number in dict.fromkeys(int(text) for text in _NUMBER.findall(stem)):
        fields = [name for name, values in possible.items() if number in values]
        if not fields and number > 1:
            fields = [
                f"{name}, axis {axis}"
                for name, shape in leaves
                for axis, size in enumerate(shape)
                if size == number
            ]
        if fields:
            more = [f"and {len(fields) - _SHOWN} more"] if len(fields) > _SHOWN else []
            found.append(Hint(number, (*fields[:_SHOWN], *more)))
    return tuple(found)
