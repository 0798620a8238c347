"""Whether a checkpoint fits a model, what keeps it from fitting, and filling a model when it does."""

from __future__ import annotations

from ckpt_core.validation.explaining.explain import ExplanationWarning, explain, explain_errors
from ckpt_core.validation.explaining.explanation import Explanation
from ckpt_core.validation.receipt import Restored
from ckpt_core.validation.report import LikelyField, Prefix, Problem, ValidationReport
from ckpt_core.validation.restoring import restore
from ckpt_core.validation.validating import validate

__all__ = [
    "Explanation",
    "ExplanationWarning",
    "LikelyField",
    "Prefix",
    "Problem",
    "Restored",
    "ValidationReport",
    "explain",
    "explain_errors",
    "restore",
    "validate",
]
