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
from ckpt_core.runs import Run
from ckpt_core.saving import save_checkpoint

__all__ = [
    "ConfigDrift",
    "Diff",
    "Receipt",
    "ResolvedConfig",
    "Run",
    "ShapeRules",
    "check_config",
    "config_drift",
    "convert",
    "diff",
    "hash_weights",
    "open_checkpoint",
    "resolve_config",
    "save_checkpoint",
]
