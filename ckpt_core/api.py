"""The public names, in one place; each module behind them is imported when a name of it is first asked for.

A program that opens checkpoints never pays for planning transfers, and `ckpt inspect` answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ckpt_core.arrays import ArraySpec, LazyArray
    from ckpt_core.comparison import Diff, diff
    from ckpt_core.config import (
        ConfigDrift,
        ResolvedConfig,
        ShapeRules,
        check_config,
        config_drift,
        resolve_config,
    )
    from ckpt_core.conversion import Receipt, convert
    from ckpt_core.errors import CheckpointError
    from ckpt_core.hashing import hash_weights
    from ckpt_core.opening import open_checkpoint
    from ckpt_core.optimizers.suggest import suggest_optimizer
    from ckpt_core.runs import ResumePlan, Run, add_resume_arguments, plan_resume
    from ckpt_core.saving import save_checkpoint
    from ckpt_core.schema import Checkpoint, Metadata, OptimizerState
    from ckpt_core.transfer import (
        TransferPlan,
        Transferred,
        add_transfer_arguments,
        settle_by_forward,
        transfer,
        verify_transfer,
    )
    from ckpt_core.transfer.matching import plan_transfer
    from ckpt_core.tree import Alias, Global, Record
    from ckpt_core.validation import (
        Explanation,
        Restored,
        ValidationReport,
        explain,
        explain_errors,
        restore,
        validate,
    )

__all__ = [
    "Alias",
    "ArraySpec",
    "Checkpoint",
    "CheckpointError",
    "ConfigDrift",
    "Diff",
    "Explanation",
    "Global",
    "LazyArray",
    "Metadata",
    "OptimizerState",
    "Receipt",
    "Record",
    "ResolvedConfig",
    "Restored",
    "ResumePlan",
    "Run",
    "ShapeRules",
    "TransferPlan",
    "Transferred",
    "ValidationReport",
    "add_resume_arguments",
    "add_transfer_arguments",
    "check_config",
    "config_drift",
    "convert",
    "diff",
    "explain",
    "explain_errors",
    "hash_weights",
    "open_checkpoint",
    "plan_resume",
    "plan_transfer",
    "resolve_config",
    "restore",
    "save_checkpoint",
    "settle_by_forward",
    "suggest_optimizer",
    "transfer",
    "validate",
    "verify_transfer",
]

_HOMES: Final = {
    "ckpt_core.arrays": (
        "ArraySpec",
        "LazyArray",
    ),
    "ckpt_core.comparison": (
        "Diff",
        "diff",
    ),
    "ckpt_core.config": (
        "ConfigDrift",
        "ResolvedConfig",
        "ShapeRules",
        "check_config",
        "config_drift",
        "resolve_config",
    ),
    "ckpt_core.conversion": (
        "Receipt",
        "convert",
    ),
    "ckpt_core.errors": ("CheckpointError",),
    "ckpt_core.hashing": ("hash_weights",),
    "ckpt_core.opening": ("open_checkpoint",),
    "ckpt_core.optimizers.suggest": ("suggest_optimizer",),
    "ckpt_core.runs": (
        "ResumePlan",
        "Run",
        "add_resume_arguments",
        "plan_resume",
    ),
    "ckpt_core.saving": ("save_checkpoint",),
    "ckpt_core.schema": (
        "Checkpoint",
        "Metadata",
        "OptimizerState",
    ),
    "ckpt_core.transfer": (
        "TransferPlan",
        "Transferred",
        "add_transfer_arguments",
        "settle_by_forward",
        "transfer",
        "verify_transfer",
    ),
    "ckpt_core.transfer.matching": ("plan_transfer",),
    "ckpt_core.tree": (
        "Alias",
        "Global",
        "Record",
    ),
    "ckpt_core.validation": (
        "Explanation",
        "Restored",
        "ValidationReport",
        "explain",
        "explain_errors",
        "restore",
        "validate",
    ),
}
"""The public names by the module that has them."""

_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
