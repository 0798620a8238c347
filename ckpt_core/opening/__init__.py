"""From a path to a Checkpoint."""

from __future__ import annotations

from ckpt_core.opening.open import checkpoint_of, layout_named, layouts, open_checkpoint

__all__ = ["checkpoint_of", "layout_named", "layouts", "open_checkpoint"]
