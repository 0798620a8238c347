"""Optimizer state, neutrally: read from torch's and optax's own structures."""

from __future__ import annotations

from ckpt_core.optimizers.read import OptimizerState, read_optimizer

__all__ = ["OptimizerState", "read_optimizer"]
