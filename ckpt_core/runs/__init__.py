"""Runs: a directory of checkpoints, listed, compared, pruned, written, and resumed from."""

from __future__ import annotations

from ckpt_core.runs.arguments import ResumeArguments, add_resume_arguments
from ckpt_core.runs.entry import Entry
from ckpt_core.runs.keeping import Kept
from ckpt_core.runs.plan import ResumePlan
from ckpt_core.runs.prune import Pruning
from ckpt_core.runs.resume import plan_resume
from ckpt_core.runs.run import Run
from ckpt_core.runs.select import Selection
from ckpt_core.runs.table import MetricsTable
from ckpt_core.runs.truth import TRUTH_TABLE, Rule

__all__ = [
    "TRUTH_TABLE",
    "Entry",
    "Kept",
    "MetricsTable",
    "Pruning",
    "ResumeArguments",
    "ResumePlan",
    "Rule",
    "Run",
    "Selection",
    "add_resume_arguments",
    "plan_resume",
]
