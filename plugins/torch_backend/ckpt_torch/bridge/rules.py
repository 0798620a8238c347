"""Optimizers that torch does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

__all__ = ["Lion"]


class Lion(torch.optim.Optimizer):  # type: ignore[misc]  # torch's own types are not followed
    """Lion, as `optax.lion` has it.

    u = sign(b1 m + (1 - b1) g); m = b2 m + (1 - b2) g; p = p - lr (u + weight_decay p). Its state is `exp_avg`, as in
    the third-party implementations. Source: Chen et al., arXiv:2302.06675.

    Arguments:
        params: parameters, groups, or named parameters.
        lr: the learning rate.
        betas: the weight of the mean in the update, and the mean's decay.
        weight_decay: decoupled weight decay.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one update; returns what the closure returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for param in group["params"]:
                    if param.grad is not None:
                        self._update(param, group)
        return loss

    def _update(self, param: torch.Tensor, group: dict[str, Any]) -> None:
        b1, b2 = group["betas"]
        state = self.state[param]
        if not state:
            state["exp_avg"] = torch.zeros_like(param)
        mean = state["exp_avg"]
        param.mul_(1 - group["lr"] * group["weight_decay"])
        param.add_((mean * b1 + param.grad * (1 - b1)).sign_(), alpha=-group["lr"])
        mean.mul_(b2).add_(param.grad, alpha=1 - b2)
