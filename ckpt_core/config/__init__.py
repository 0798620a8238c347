"""The configuration behind a checkpoint: restored, inferred from shapes, and checked against them."""

from __future__ import annotations

from ckpt_core.config.mismatch import Cause, explain_counts, explain_mismatch
from ckpt_core.shapes import ShapeRules

__all__ = ["Cause", "ShapeRules", "explain_counts", "explain_mismatch"]
