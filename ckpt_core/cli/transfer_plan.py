"""A transfer plan for people: a line for each rule with its evidence, and what is unsettled."""

from __future__ import annotations

from typing import Any

from ckpt_core.cli.render import clean, table
from ckpt_core.transfer import Rule, TransferPlan, Unsettled
from ckpt_core.transfer.toml import rule_toml

__all__ = ["plan_json", "plan_text"]


def plan_text(plan: TransferPlan) -> str:
    """Return a plan as lines: the rules as a table, the conventions, and the unsettled lines with their candidates."""
    lines = table([("source", "target", "ops", "sure", "because"), *map(_row, plan.rules)], indent="")
    if plan.conventions:
        lines += ["", "conventions:"]
        lines += [f"  {clean(name)}: {clean(value)}" for name, value in plan.conventions.items()]
    for line in plan.unsettled:
        lines += ["", *_unsettled(line)]
    count = f"{len(plan.rules)} rule{'s' if len(plan.rules) != 1 else ''}"
    return "\n".join([*lines, "", f"{count}, {len(plan.unsettled)} unsettled"])


def _row(rule: Rule) -> tuple[str, ...]:
    return (
        _names(rule.source),
        _names(rule.target),
        clean(" ".join(map(str, rule.ops)), 100) or "rename",
        rule.confidence,
        clean("; ".join(map(str, rule.evidence)), 200),
    )


def _names(names: tuple[str, ...]) -> str:
    return clean(", ".join(names), 160) or "-"


def _unsettled(line: Unsettled) -> list[str]:
    lines = [f"UNSETTLED {_names(line.source)} -> {_names(line.target)}", f"  {clean(line.reason, 500)}"]
    if line.settled_by:
        lines.append(f"  settled by: {clean(line.settled_by, 500)}")
    for number, candidate in enumerate(line.candidates, 1):
        lines.append(f"  candidate {number}{': ' if candidate.text else ''}{clean(candidate.text, 500)}")
        for rule in candidate.rules:
            lines += [f"    {clean(text, 500)}" for text in rule_toml(rule).splitlines()]
    return lines


def plan_json(plan: TransferPlan) -> dict[str, Any]:
    """Return a plan as JSON values."""
    return {
        "source_framework": plan.source_framework,
        "target_framework": plan.target_framework,
        "conventions": dict(plan.conventions),
        "rules": [_rule_json(rule) for rule in plan.rules],
        "unsettled": [
            {
                "source": line.source,
                "target": line.target,
                "reason": line.reason,
                "settled_by": line.settled_by,
                "candidates": [
                    {"text": candidate.text, "rules": [_rule_json(rule) for rule in candidate.rules]}
                    for candidate in line.candidates
                ],
            }
            for line in plan.unsettled
        ],
    }


def _rule_json(rule: Rule) -> dict[str, Any]:
    return {
        "source": rule.source,
        "target": rule.target,
        "ops": [str(op) for op in rule.ops],
        "confidence": rule.confidence,
        "evidence": [{"kind": one.kind, "text": one.text} for one in rule.evidence],
        "comment": rule.comment,
    }
