"""Settling by running both models: which candidates give the outputs of the source."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ckpt_core.errors import CheckpointError, UsageError
from ckpt_core.transfer.agreement import checked_inputs, compared, outputs_of
from ckpt_core.transfer.patterns import parse_pattern
from ckpt_core.transfer.plan import PROVEN, Candidate, Evidence, TransferPlan, Unsettled
from ckpt_core.transfer.transferring import transfer

__all__ = ["Settled", "settle_by_forward"]

_MOST_TRIALS: Final = 1000


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
        UsageError: there are too many combinations, an unsettled line has no candidates, or the outputs prove nothing.
        CheckpointError: no way of settling them makes a transfer; it says why the last one does not.
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
    given = checked_inputs(inputs)
    expected = outputs_of(source_fn(*given))
    agreeing: list[tuple[Candidate, ...]] = []
    closest, gap = math.inf, ""
    refused: CheckpointError | None = None
    for chosen in ways:
        rules = [rule for candidate in chosen for rule in candidate.rules]
        trial = replace(plan.with_rules(*rules), unsettled=())
        try:
            result = transfer(source, like, rules=trial)
        except CheckpointError as error:
            refused = error  # this way does not fit as a whole
            continue
        agreement = compared(expected, outputs_of(target_fn(result.load(), *given)), {}, rtol, atol)
        if agreement.absolute < closest:
            closest, gap = agreement.absolute, f"; the closest differs by {agreement.absolute:.2g}"
        elif not gap:
            gap = f": {next(row for row in agreement.differences if not row.agrees)}"
        if agreement:
            agreeing.append(chosen)
    if refused is not None and not agreeing and not gap:
        raise refused
    if not agreeing:
        return Settled(plan, 0, count, f"none of {count} agrees{gap}")
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
