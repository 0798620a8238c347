"""Finding plans: which source goes where, and why."""

from __future__ import annotations

from ckpt_core.transfer.matching.find import anchors_of, find_plan, plan_transfer

__all__ = ["anchors_of", "find_plan", "plan_transfer"]
