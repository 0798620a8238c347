"""Finding plans: which source goes where, and why."""

from __future__ import annotations

from ckpt_core.transfer.matching.find import plan_transfer

__all__ = ["plan_transfer"]
