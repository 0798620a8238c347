"""Open any checkpoint without running it, and convert it into any other format."""

from __future__ import annotations

from ckpt_core.api import (
    ConfigDrift,
    Diff,
    Explanation,
    Receipt,
    ResolvedConfig,
    Restored,
    ResumePlan,
    Run,
    ShapeRules,
    ValidationReport,
    add_resume_arguments,
    check_config,
    config_drift,
    convert,
    diff,
    explain,
    explain_errors,
    hash_weights,
    open_checkpoint,
    plan_resume,
    resolve_config,
    restore,
    save_checkpoint,
    validate,
)
from ckpt_core.arrays import ArraySpec, LazyArray
from ckpt_core.errors import CheckpointError
from ckpt_core.schema import Checkpoint, Metadata, OptimizerState
from ckpt_core.tree import Alias, Global, Record

__version__ = "0.1.0"

__all__ = [
    "Alias",
    "ArraySpec",
    "Checkpoint",
    "CheckpointError",
    "ConfigDrift",
    "Diff",
    "Explanation",
    "Global",
    "LazyArray",
    "Metadata",
    "OptimizerState",
    "Receipt",
    "Record",
    "ResolvedConfig",
    "Restored",
    "ResumePlan",
    "Run",
    "ShapeRules",
    "ValidationReport",
    "add_resume_arguments",
    "check_config",
    "config_drift",
    "convert",
    "diff",
    "explain",
    "explain_errors",
    "hash_weights",
    "open_checkpoint",
    "plan_resume",
    "resolve_config",
    "restore",
    "save_checkpoint",
    "validate",
]
