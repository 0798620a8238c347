"""Weights across frameworks: plans, how they are found, applied and proven."""

from __future__ import annotations

from ckpt_core.transfer.agreement import Agreement, verify_transfer
from ckpt_core.transfer.arguments import TransferArguments, add_transfer_arguments
from ckpt_core.transfer.binding import Problem
from ckpt_core.transfer.forward import Settled, settle_by_forward
from ckpt_core.transfer.plan import Candidate, Evidence, Rule, TransferPlan, Unsettled
from ckpt_core.transfer.receipt import Receipt
from ckpt_core.transfer.reversing import reverse_plan
from ckpt_core.transfer.toml import parse_plan, plan_toml, read_plan, rule_toml, write_plan
from ckpt_core.transfer.transferring import Check, Transferred, transfer, verify

__all__ = [
    "Agreement",
    "Candidate",
    "Check",
    "Evidence",
    "Problem",
    "Receipt",
    "Rule",
    "Settled",
    "TransferArguments",
    "TransferPlan",
    "Transferred",
    "Unsettled",
    "add_transfer_arguments",
    "parse_plan",
    "plan_toml",
    "read_plan",
    "reverse_plan",
    "rule_toml",
    "settle_by_forward",
    "transfer",
    "verify",
    "verify_transfer",
    "write_plan",
]
