"""What a tree means, whichever framework wrote it."""

from __future__ import annotations

from ckpt_core.schema.checkpoint import Checkpoint, Metadata, OptimizerState

__all__ = ["Checkpoint", "Metadata", "OptimizerState"]
