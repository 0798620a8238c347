"""A plan turned round: from the target's names back to the source's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ckpt_core.arrays import ArraySpec
from ckpt_core.errors import PlanError
from ckpt_core.framework import Slot
from ckpt_core.transfer.binding import Problem, Step, bind
from ckpt_core.transfer.ops import Op, inverse_chain
from ckpt_core.transfer.plan import Rule, TransferPlan

__all__ = ["reverse_plan"]


def reverse_plan(
    plan: TransferPlan, sources: Mapping[str, ArraySpec], slots: Mapping[str, Slot]
) -> TransferPlan:
    """Return the plan that leads back.

    Arguments:
        plan: the way there.
        sources: the shapes and dtypes of what the way there started from, by name: what an op's inverse restores.
        slots: what the way there filled.

    Raises:
        PlanError: the plan does not fit, is unsettled, or an op has no inverse; all of it at once.
    """
    bound = bind(plan, sources, slots)
    problems = list(bound.problems)
    by_rule: dict[int, list[tuple[Step, tuple[Op, ...]]]] = {}
    for step in bound.steps:
        back = inverse_chain(step.rule.ops, tuple(sources[name] for name in step.sources))
        if isinstance(back, Op):
            problems.append(Problem("op", ", ".join(step.targets), f"{back} has no inverse"))
        else:
            by_rule.setdefault(id(step.rule), []).append((step, back))
    if problems:
        lines = "\n    ".join(map(str, problems))
        raise PlanError("the plan cannot be turned round", tuple(problems), remedy=f"Why:\n    {lines}")
    rules = [rule for steps in by_rule.values() for rule in _turned(steps)]
    return replace(
        plan,
        rules=tuple(rules),
        source_framework=plan.target_framework,
        target_framework=plan.source_framework,
    )


def _turned(steps: list[tuple[Step, tuple[Op, ...]]]) -> list[Rule]:
    """One rule where every step goes back by the same ops, else one for each step."""
    rule = steps[0][0].rule
    chains = {back for _, back in steps}
    if len(chains) == 1:
        return [replace(rule, source=rule.target, target=rule.source, ops=chains.pop())]
    turned = [(step.alone(), back) for step, back in steps]
    return [replace(one, source=one.target, target=one.source, ops=back) for one, back in turned]
