"""Open any checkpoint without running it, and convert it into any other format."""

from __future__ import annotations

from ckpt_core.api import (
    ConfigDrift,
    Diff,
    Receipt,
    ResolvedConfig,
    Run,
    ShapeRules,
    check_config,
    config_drift,
    convert,
    diff,
    hash_weights,
    open_checkpoint,
    resolve_config,
    save_checkpoint,
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
    "Global",
    "LazyArray",
    "Metadata",
    "OptimizerState",
    "Receipt",
    "Record",
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
