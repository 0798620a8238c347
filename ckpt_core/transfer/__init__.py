"""Weights across frameworks: plans, how they are found, applied and proven."""

from __future__ import annotations

from ckpt_core.transfer.binding import Problem
from ckpt_core.transfer.plan import Candidate, Evidence, Rule, TransferPlan, Unsettled
from ckpt_core.transfer.receipt import Receipt
from ckpt_core.transfer.reversing import reverse_plan
from ckpt_core.transfer.toml import parse_plan, plan_toml, read_plan, write_plan
from ckpt_core.transfer.transferring import Check, Transferred, transfer, verify

__all__ = [
    "Candidate",
    "Check",
    "Evidence",
    "Problem",
    "Receipt",
    "Rule",
    "TransferPlan",
    "Transferred",
    "Unsettled",
    "parse_plan",
    "plan_toml",
    "read_plan",
    "reverse_plan",
    "transfer",
    "verify",
    "write_plan",
]
