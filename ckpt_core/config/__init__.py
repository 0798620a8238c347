"""The configuration behind a checkpoint: restored, inferred from shapes, and checked against them."""

from __future__ import annotations

from ckpt_core.config.check import check_config
from ckpt_core.config.drift import Change, ConfigDrift, config_drift
from ckpt_core.config.explicit import explicit_arguments
from ckpt_core.config.mismatch import Cause, explain_counts, explain_mismatch
from ckpt_core.config.resolve import resolve_config
from ckpt_core.config.result import ConfigWarning, Conflict, Given, Hint, Origin, ResolvedConfig, Undecided
from ckpt_core.config.rules import read_rules
from ckpt_core.config.sources import NONE
from ckpt_core.config.structure import Structure, structure_of
from ckpt_core.config.write import write_config
from ckpt_core.shapes import ShapeRules

__all__ = [
    "NONE",
    "Cause",
    "Change",
    "ConfigDrift",
    "ConfigWarning",
    "Conflict",
    "Given",
    "Hint",
    "Origin",
    "ResolvedConfig",
    "ShapeRules",
    "Structure",
    "Undecided",
    "check_config",
    "config_drift",
    "explain_counts",
    "explain_mismatch",
    "explicit_arguments",
    "read_rules",
    "resolve_config",
    "structure_of",
    "write_config",
]
