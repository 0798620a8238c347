"""What `resume`, `fresh_start`, `auto_resume` and a model path mean together: every combination, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ckpt_core.errors import UsageError

__all__ = ["TRUTH_TABLE", "Rule", "rule_for", "truth_table_text"]


@dataclass(frozen=True)
class Rule:
    """One row of the table.

    Arguments:
        resume, fresh_start, auto_resume, model_path: which of the four are given.
        outcome: "fresh", "weights", "resume", "auto", "auto or weights", or "refused".
        meaning: what happens, or why it is refused, as a sentence.
    """

    resume: bool
    fresh_start: bool
    auto_resume: bool
    model_path: bool
    outcome: str
    meaning: str


_FRESH: Final = "Everything starts anew."
_WEIGHTS: Final = "The weights at the path; a fresh optimizer, the epoch counter from zero."
_BOTH: Final = "`--resume` and `--fresh_start` contradict each other: drop one."
_AUTO_FRESH: Final = "`--auto_resume` and `--fresh_start` contradict each other: drop one."
_NO_PATH: Final = (
    "`--resume` does not say what to resume: name a checkpoint with `--model_path`, or use `--auto_resume` alone, "
    "which looks for the newest."
)
_TWO: Final = "`--resume` names the checkpoint at the path, `--auto_resume` the newest one of the run: drop one of the two."

TRUTH_TABLE: Final[tuple[Rule, ...]] = (
    Rule(False, False, False, False, "fresh", _FRESH),
    Rule(False, True, False, False, "fresh", _FRESH),
    Rule(False, False, False, True, "weights", _WEIGHTS),
    Rule(False, True, False, True, "weights", _WEIGHTS),
    Rule(True, False, False, True, "resume", "Weights, optimizer and counters of the checkpoint at the path."),
    Rule(
        False, False, True, False, "auto",
        "The newest whole checkpoint of the run that can be resumed; where there is none, a fresh start.",
    ),
    Rule(
        False, False, True, True, "auto or weights",
        "The newest whole checkpoint of the run that can be resumed; where there is none, the weights at the path.",
    ),
    Rule(True, False, False, False, "refused", _NO_PATH),
    Rule(True, False, True, False, "refused", _NO_PATH),
    Rule(True, False, True, True, "refused", _TWO),
    Rule(True, True, False, False, "refused", _BOTH),
    Rule(True, True, False, True, "refused", _BOTH),
    Rule(True, True, True, False, "refused", _BOTH),
    Rule(True, True, True, True, "refused", _BOTH),
    Rule(False, True, True, False, "refused", _AUTO_FRESH),
    Rule(False, True, True, True, "refused", _AUTO_FRESH),
)  # fmt: skip
"""Every combination once."""


def rule_for(*, resume: bool, fresh_start: bool, auto_resume: bool, model_path: bool) -> Rule:
    """Return the row of a combination.

    Raises:
        UsageError: the combination is refused; says why.
    """
    given = (resume, fresh_start, auto_resume, model_path)
    rule = next(r for r in TRUTH_TABLE if (r.resume, r.fresh_start, r.auto_resume, r.model_path) == given)
    if rule.outcome == "refused":
        raise UsageError(rule.meaning.replace("`", "").rstrip("."))
    return rule


def truth_table_text() -> str:
    """Return the table as Markdown."""
    lines = [
        "| `resume` | `fresh_start` | `auto_resume` | model path | outcome | |",
        "| :---: | :---: | :---: | :---: | --- | --- |",
    ]
    for rule in TRUTH_TABLE:
        given = (rule.resume, rule.fresh_start, rule.auto_resume, rule.model_path)
        marks = " | ".join("yes" if flag else "" for flag in given)
        lines.append(f"| {marks} | {rule.outcome} | {rule.meaning} |")
    return "\n".join(lines)
