"""Proof by running both models: which candidate agrees, and where two models part."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import CheckpointError, UsageError
from ckpt_core.live import tree_of
from ckpt_core.transfer.patterns import parse_pattern
from ckpt_core.transfer.plan import PROVEN, Candidate, Evidence, TransferPlan, Unsettled
from ckpt_core.transfer.transferring import transfer
from ckpt_core.tree import flatten, render_path

__all__ = ["Agreement", "Difference", "Settled", "settle_by_forward", "verify_transfer"]

_MOST_TRIALS: Final = 1000


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
        UsageError: the functions have no output in common.

    Example:
        >>> print(verify_transfer(lambda x: {"a": x, "b": 2 * x}, lambda x: {"a": x, "b": x}, [np.ones(2)]))
        the models part at b
          a: agrees, absolute 0, relative 0
          b: DIFFERS, absolute 1, relative 0.5
    """
    return _compared(_outputs(source_fn(*inputs)), _outputs(target_fn(*inputs)), names or {}, rtol, atol)


def _outputs(value: Any) -> dict[str, np.ndarray]:
    """The arrays that a forward pass returned, by name, in float64."""
    found = {}
    for path, leaf in flatten(tree_of(value)):
        if isinstance(leaf, LazyArray):
            array = leaf.read()
            is_complex = np.issubdtype(array.dtype, np.complexfloating)
            found[render_path(path) or "output"] = array if is_complex else array.astype(np.float64)
    return found


def _compared(
    ours: Mapping[str, np.ndarray],
    theirs: Mapping[str, np.ndarray],
    names: Mapping[str, str],
    rtol: float,
    atol: float,
) -> Agreement:
    rows = []
    for name, array in ours.items():
        other = theirs.get(names.get(name, name))
        if other is not None:
            rows.append(_difference(name, array, other, rtol, atol))
    if not rows:
        raise UsageError(
            f"the source reports {', '.join(list(ours)[:8]) or 'nothing'}, the target {', '.join(list(theirs)[:8]) or 'nothing'}",
            remedy="Return arrays under the same names, or map them with names=.",
        )
    return Agreement(tuple(rows))


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


# Settling.


@dataclass(frozen=True)
class Settled:
    """What running the candidates showed.

    Arguments:
        plan: the plan; what was settled is among its rules, what was not is still unsettled.
        agreeing: how many ways of settling every line gave the source's outputs.
        tried: how many were tried.
        text: the outcome, as a sentence.
    """

    plan: TransferPlan
    agreeing: int
    tried: int
    text: str

    def __bool__(self) -> bool:
        return not self.plan.unsettled

    def __str__(self) -> str:
        return self.text


def settle_by_forward(
    plan: TransferPlan,
    source_fn: Callable[..., Any],
    target_fn: Callable[..., Any],
    inputs: Sequence[Any],
    *,
    source: Any,
    like: Any,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> Settled:
    """Settle the unsettled lines of a plan by running the target with each way of settling them.

    All are tried that take no source twice: where two agree, the inputs or the weights do not tell them apart (fresh
    zeros and ones hide most swaps; a key's bias never shows), and the line stays unsettled with those that are left.

    Arguments:
        plan: the plan.
        source_fn: the source's forward pass: `source_fn(*inputs)`.
        target_fn: the target's: `target_fn(tree, *inputs)`, where `tree` has the form of `like`, in numpy.
        inputs: what both are called with.
        source, like: as for `transfer`.
        rtol, atol: tolerances, as in `numpy.allclose`.

    Raises:
        UsageError: there are too many combinations, or an unsettled line has no candidates.
    """
    lines = _open(plan)
    if not lines:
        return Settled(replace(plan, unsettled=()), 0, 0, "there is nothing to settle")
    ways = list(itertools.islice(_ways(lines), _MOST_TRIALS + 1))
    count = len(ways)
    if not all(line.candidates for line in lines):
        problem = "an unsettled line has no candidates"
    elif not ways:
        problem = "every way of settling them takes a source twice"
    else:
        problem = f"there are more than {_MOST_TRIALS:,} combinations to try" if count > _MOST_TRIALS else ""
    if problem:
        raise UsageError(problem, remedy="Settle some of the lines by rules first.")
    expected = _outputs(source_fn(*inputs))
    agreeing: list[tuple[Candidate, ...]] = []
    closest = math.inf
    for chosen in ways:
        rules = [rule for candidate in chosen for rule in candidate.rules]
        trial = replace(plan.with_rules(*rules), unsettled=())
        try:
            result = transfer(source, like, rules=trial)
        except CheckpointError:
            continue  # this way does not fit as a whole
        agreement = _compared(expected, _outputs(target_fn(result.load(), *inputs)), {}, rtol, atol)
        closest = min(closest, agreement.absolute)
        if agreement:
            agreeing.append(chosen)
    if not agreeing:
        text = f"none of {count} agrees; the closest differs by {closest:.2g}"
        return Settled(plan, 0, count, text)
    return _kept(plan, lines, agreeing, count)


def _ways(lines: Sequence[Unsettled], taken: frozenset[str] = frozenset()) -> Iterator[tuple[Candidate, ...]]:
    """The ways of settling every line, none of which takes a source twice."""
    if not lines:
        yield ()
        return
    for candidate in lines[0].candidates:
        sources = frozenset(name for rule in candidate.rules for name in rule.source)
        if not sources & taken:
            for rest in _ways(lines[1:], taken | sources):
                yield (candidate, *rest)


def _open(plan: TransferPlan) -> list[Unsettled]:
    """The lines that no rule of the plan names."""
    taken = {parse_pattern(text).parts for rule in plan.rules for text in rule.source}
    given = {parse_pattern(text).parts for rule in plan.rules for text in rule.target}

    def settled(line: Unsettled) -> bool:
        texts, known = (line.target, given) if line.target else (line.source, taken)
        return any(parse_pattern(text).parts in known for text in texts)

    return [line for line in plan.unsettled if not settled(line)]


def _kept(
    plan: TransferPlan, lines: Sequence[Unsettled], agreeing: Sequence[tuple[Candidate, ...]], count: int
) -> Settled:
    """The plan with the candidates that every agreeing way has, and the rest narrowed."""
    why = Evidence("forward", f"the outputs agree; {count} tried")
    rules, still = [], []
    for place, line in enumerate(lines):
        left = [
            candidate for candidate in line.candidates if any(ways[place] is candidate for ways in agreeing)
        ]
        if len(left) == 1:
            rules += [
                replace(rule, confidence=PROVEN, evidence=(*rule.evidence, why)) for rule in left[0].rules
            ]
        else:
            still.append(replace(line, candidates=tuple(left)))
    settled = replace(plan.with_rules(*rules), unsettled=tuple(still))
    text = f"{len(agreeing)} of {count} agree"
    if still:
        text += "; these outputs do not tell them apart: other inputs, or weights without zeros and ones, may"
    return Settled(settled, len(agreeing), count, text)
