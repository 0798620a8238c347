"""Weights across frameworks: plans, how they are found, applied and proven."""

from __future__ import annotations

from ckpt_core.transfer.plan import Candidate, Evidence, Rule, TransferPlan, Unsettled

__all__ = ["Candidate", "Evidence", "Rule", "TransferPlan", "Unsettled"]
