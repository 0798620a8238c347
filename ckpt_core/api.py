"""The public functions, in one place."""

from __future__ import annotations

from ckpt_core.comparison import Diff, diff
from ckpt_core.config import (
    ConfigDrift,
    ResolvedConfig,
    ShapeRules,
    check_config,
    config_drift,
    resolve_config,
)
from ckpt_core.conversion import Receipt, convert
from ckpt_core.hashing import hash_weights
from ckpt_core.opening import open_checkpoint
from ckpt_core.optimizers.suggest import suggest_optimizer
from ckpt_core.runs import ResumePlan, Run, add_resume_arguments, plan_resume
from ckpt_core.saving import save_checkpoint
from ckpt_core.transfer import (
    TransferPlan,
    Transferred,
    add_transfer_arguments,
    settle_by_forward,
    transfer,
    verify_transfer,
)
from ckpt_core.transfer.matching import plan_transfer
from ckpt_core.validation import (
    Explanation,
    Restored,
    ValidationReport,
    explain,
    explain_errors,
    restore,
    validate,
)

__all__ = [
    "ConfigDrift",
    "Diff",
    "Explanation",
    "Receipt",
    "ResolvedConfig",
    "Restored",
    "ResumePlan",
    "Run",
    "ShapeRules",
    "TransferPlan",
    "Transferred",
    "ValidationReport",
    "add_resume_arguments",
    "add_transfer_arguments",
    "check_config",
    "config_drift",
    "convert",
    "diff",
    "explain",
    "explain_errors",
    "hash_weights",
    "open_checkpoint",
    "plan_resume",
    "plan_transfer",
    "resolve_config",
    "restore",
    "save_checkpoint",
    "settle_by_forward",
    "suggest_optimizer",
    "transfer",
    "validate",
    "verify_transfer",
]
