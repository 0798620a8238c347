"""Optimizer state, neutrally: read from torch's and optax's own structures."""

from __future__ import annotations

from ckpt_core.optimizers.describing import describe, described
from ckpt_core.optimizers.naming import Weight, parameters_of
from ckpt_core.optimizers.read import identified, read_optimizer, read_optimizers
from ckpt_core.optimizers.state import OptimizerState
from ckpt_core.optimizers.translate import translate_optimizer

__all__ = [
    "OptimizerState",
    "Weight",
    "describe",
    "described",
    "identified",
    "parameters_of",
    "read_optimizer",
    "read_optimizers",
    "translate_optimizer",
]
