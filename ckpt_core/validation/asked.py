"""What a comparison was asked to let through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ckpt_core.arrays import ArraySpec
from ckpt_core.config.rules import Rules
from ckpt_core.dtypes import is_complex, is_float, to_numpy
from ckpt_core.errors import UsageError
from ckpt_core.select import matches
from ckpt_core.validation.report import Problem

__all__ = ["DTYPES", "Asked"]

DTYPES: Final = ("exact", "widen", "cast")
"""What may happen to a dtype that differs: nothing; a float or integer may become one that holds all its values;
any float may become any other, and any integer any other."""


@dataclass(frozen=True)
class Asked:
    """What a comparison was asked to let through.

    Arguments:
        dtypes: one of DTYPES.
        partial: patterns of names whose differences are let through.
        strip_prefix: first segments that are taken off the checkpoint's names.
        rules: shape rules that explain differences; None for the registered ones that fit.
    """

    dtypes: str = "exact"
    partial: tuple[str, ...] = ()
    strip_prefix: str | None = None
    rules: Rules = None

    def __post_init__(self) -> None:
        if self.dtypes not in DTYPES:
            raise UsageError(
                f"dtypes={self.dtypes!r}", remedy=f"It is one of {', '.join(map(repr, DTYPES))}."
            )

    def lets_through(self, problem: Problem) -> bool:
        """Say whether a difference is one of those."""
        if self.partial and matches(problem.name, self.partial):
            return True
        if problem.kind != "dtype" or self.dtypes == "exact":
            return False
        assert isinstance(problem.found, ArraySpec) and isinstance(problem.expected, ArraySpec)
        source, target = problem.found.dtype, problem.expected.dtype
        if (
            is_float(source) != is_float(target)
            or is_complex(source) != is_complex(target)
            or "bool" in (source, target)
        ):
            return False
        return self.dtypes == "cast" or bool(np.can_cast(to_numpy(source), to_numpy(target), "safe"))
