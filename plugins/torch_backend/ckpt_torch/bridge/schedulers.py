"""Learning-rate schedulers and gradient scalers: objects of torch with a state dict of plain values."""

from __future__ import annotations

from typing import Any

import torch

from ckpt_core.errors import UsageError
from ckpt_core.live import tree_of

__all__ = ["KINDS", "state"]

KINDS: tuple[type[Any], ...] = (
    torch.optim.lr_scheduler.LRScheduler,
    torch.optim.lr_scheduler.ReduceLROnPlateau,  # before torch 2.2 no LRScheduler
    getattr(torch.amp, "GradScaler", torch.cuda.amp.GradScaler),  # before torch 2.3 that of CUDA alone
)


def state(scheduler: Any) -> Any:
    """Return the state dict of a scheduler or a gradient scaler as a tree.

    Raises:
        UsageError: it is neither.
    """
    if not isinstance(scheduler, KINDS):
        kind = type(scheduler)
        raise UsageError(
            f"a {kind.__module__}.{kind.__qualname__} is no scheduler of torch",
            remedy="Pass one of torch.optim.lr_scheduler, or its state_dict().",
        )
    return tree_of(scheduler.state_dict())
