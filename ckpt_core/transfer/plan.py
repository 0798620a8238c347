"""TransferPlan: which source goes where, and how; as data that a person reads and edits.

Applying a plan is in `apply.py`, its TOML form in `toml.py`, finding one in `matching/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ckpt_core.transfer.ops import Op

__all__ = ["GIVEN", "PROVEN", "STRONG", "Candidate", "Evidence", "Rule", "TransferPlan", "Unsettled"]

GIVEN: Final = "given"
"""A person, or the caller, wrote the rule."""
PROVEN: Final = "proven"
"""Nothing else is possible: one candidate fits, or the outputs of both models agreed."""
STRONG: Final = "strong"
"""Several kinds of evidence agree, and none speaks against it."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One reason for a rule.

    Arguments:
        kind: what it comes from: "type", "name", "shape", "structure", "order", "siblings", "block", "forward".
        text: what it says, short: "Linear -> nnx.Linear".
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass(frozen=True, slots=True)
class Rule:
    """From source arrays through a chain of ops to target slots.

    A pattern is a name (segments joined by `/`, or by `.` where it holds no `/`) with captures: `{i}` is a number,
    `{x*}` text within a segment, `{x**}` one or more whole segments; `{i+1}` counts on. The rule holds for every
    value of the captures that both sides have. A capture that only the sources have gathers: its arrays enter the
    chain one value after another, by number, the patterns in order within each. One that only the targets have
    scatters the results in the same way.

    Arguments:
        source: patterns of source names; none for `initial` and `constant`.
        target: patterns of target names; none for `skip`.
        ops: the chain; empty for a rename.
        confidence: "given", "proven" or "strong".
        evidence: why.
        comment: what a person wrote about it, lines without `#`.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    ops: tuple[Op, ...] = ()
    confidence: str = GIVEN
    evidence: tuple[Evidence, ...] = ()
    comment: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """One possible answer to an unsettled line: rules that hold together.

    Arguments:
        rules: what would be added to the plan.
        text: what tells this one from the others: "the first third is the query".
    """

    rules: tuple[Rule, ...]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A line of a plan that the evidence does not settle.

    A rule of the plan that claims one of its targets, or where it has none one of its sources, settles it.

    Arguments:
        source: the names of the sources in question.
        target: the names of the slots in question.
        reason: why it is open.
        settled_by: what would settle it, as a sentence.
        candidates: the possible answers; none where there is no idea.
        comment: what a person wrote about it, lines without `#`.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    reason: str
    settled_by: str = ""
    candidates: tuple[Candidate, ...] = ()
    comment: tuple[str, ...] = ()


@dataclass(frozen=True)
class TransferPlan:
    """What goes where, with what is still open.

    Arguments:
        rules: the settled lines, in the target's order.
        unsettled: the open ones.
        conventions: choices that neither names nor shapes can show, by name: {"packed qkv": "q, k, v"}.
        source_framework, target_framework: "torch", "flax" or "".
        comment: what a person wrote at the head of the file.

    Example:
        >>> from ckpt_core.transfer.ops import Transpose
        >>> rule = Rule(("layers.{i}.weight",), ("layers_{i}/kernel",), (Transpose(),))
        >>> TransferPlan((rule,)).rules[0].confidence
        'given'
    """

    rules: tuple[Rule, ...] = ()
    unsettled: tuple[Unsettled, ...] = ()
    conventions: Mapping[str, str] = field(default_factory=dict)
    source_framework: str = ""
    target_framework: str = ""
    comment: tuple[str, ...] = ()

    def with_rules(self, *rules: Rule) -> TransferPlan:
        """Return the plan with more rules."""
        return replace(self, rules=(*self.rules, *rules))
