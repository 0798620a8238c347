"""Whether two models agree: their outputs compared, layer by layer where both report their layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UsageError
from ckpt_core.live import tree_of
from ckpt_core.tree import flatten, render_path

__all__ = ["Agreement", "Difference", "checked_inputs", "compared", "outputs_of", "verify_transfer"]


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one output of two models lies apart.

    Arguments:
        name: the output: a layer's name where functions report them, "output" for a single one.
        absolute: the largest absolute difference.
        relative: the largest difference relative to the larger of both magnitudes.
        agrees: whether it is within the tolerances.
        text: what else is wrong: other shapes, missing on one side.
    """

    name: str
    absolute: float
    relative: float
    agrees: bool
    text: str = ""

    def __str__(self) -> str:
        verdict = "agrees" if self.agrees else "DIFFERS"
        return f"{self.name}: {verdict}, {self.text or f'absolute {self.absolute:.2g}, relative {self.relative:.2g}'}"


@dataclass(frozen=True)
class Agreement:
    """Whether two models give the same outputs.

    Arguments:
        differences: one for each output, in the order in which the source reports them.
    """

    differences: tuple[Difference, ...]

    def __bool__(self) -> bool:
        return bool(self.differences) and all(row.agrees for row in self.differences)

    @property
    def first_apart(self) -> str | None:
        """The name of the first output that differs: the layer at which the models part."""
        return next((row.name for row in self.differences if not row.agrees), None)

    @property
    def absolute(self) -> float:
        """The largest absolute difference of all."""
        return max((row.absolute for row in self.differences), default=math.inf)

    def __str__(self) -> str:
        rows = "\n".join(f"  {row}" for row in self.differences)
        apart = self.first_apart
        return f"{'the outputs agree' if apart is None else f'the models part at {apart}'}\n{rows}"


def verify_transfer(
    source_fn: Callable[..., Any],
    target_fn: Callable[..., Any],
    inputs: Sequence[Any],
    *,
    names: Mapping[str, str] | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> Agreement:
    """Compare the outputs of two models, layer by layer where both report their layers.

    Arguments:
        source_fn, target_fn: the forward passes of the source and of the filled target. Each returns an array, or a
            mapping from the names of layers to their outputs in the order of the computation.
        inputs: what both are called with, as `fn(*inputs)`; each takes care of its own layout.
        names: for outputs of the source, the name of the target's output that is the same.
        rtol, atol: tolerances, as in `numpy.allclose`.

    Raises:
        UsageError: the functions have no output in common, or none with a finite number in it, which would prove
            nothing.

    Example:
        >>> print(verify_transfer(lambda x: {"a": x, "b": 2 * x}, lambda x: {"a": x, "b": x}, [np.ones(2)]))
        the models part at b
          a: agrees, absolute 0, relative 0
          b: DIFFERS, absolute 1, relative 0.5
    """
    given = checked_inputs(inputs)
    return compared(outputs_of(source_fn(*given)), outputs_of(target_fn(*given)), names or {}, rtol, atol)


def checked_inputs(inputs: Any) -> Sequence[Any]:
    """Return the inputs; an array would be taken apart, row by row."""
    if isinstance(inputs, (list, tuple)):
        return inputs
    raise UsageError(
        f"inputs is a {type(inputs).__name__}, and no list of what the functions are called with",
        remedy="Pass inputs=[x].",
    )


def outputs_of(value: Any) -> dict[str, np.ndarray]:
    """Return the arrays that a forward pass returned, by name, in float64."""
    found = {}
    for path, leaf in flatten(tree_of(value)):
        if isinstance(leaf, LazyArray):
            array = leaf.read()
            is_complex = np.issubdtype(array.dtype, np.complexfloating)
            found[render_path(path) or "output"] = array if is_complex else array.astype(np.float64)
    return found


def compared(
    ours: Mapping[str, np.ndarray],
    theirs: Mapping[str, np.ndarray],
    names: Mapping[str, str],
    rtol: float,
    atol: float,
) -> Agreement:
    """Return how far outputs lie apart that both have, by their names in the source."""
    common = {name: names.get(name, name) for name in ours if names.get(name, name) in theirs}
    if not common:
        raise UsageError(
            f"the source reports {', '.join(list(ours)[:8]) or 'nothing'}, the target {', '.join(list(theirs)[:8]) or 'nothing'}",
            remedy="Return arrays under the same names, or map them with names=.",
        )
    if not any(np.isfinite(ours[name]).any() for name in common):
        raise UsageError(
            f"{', '.join(list(common)[:8])} of the source has no finite number in it, and proves nothing",
            remedy="Other inputs, or weights that are not NaN.",
        )
    return Agreement(
        tuple(_difference(name, ours[name], theirs[other], rtol, atol) for name, other in common.items())
    )


def _difference(name: str, a: np.ndarray, b: np.ndarray, rtol: float, atol: float) -> Difference:
    if a.shape != b.shape:
        return Difference(name, math.inf, math.inf, False, f"shapes {list(a.shape)} and {list(b.shape)}")
    if not a.size:
        return Difference(name, 0.0, 0.0, True)
    with np.errstate(invalid="ignore", divide="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        gap = np.where(same, 0.0, np.abs(a - b))
        scale = np.maximum(np.abs(a), np.abs(b))
        relative = np.where(gap == 0, 0.0, gap / scale)
        agrees = bool(np.all(gap <= atol + rtol * np.where(np.isfinite(scale), scale, 0.0)))
    return Difference(name, float(np.max(gap)), float(np.max(relative)), agrees)
