"""Signum for torch: the optimizer that the example's family knows. Importing this module imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


class Signum(torch.optim.Optimizer):
    """m = momentum m + g; p = p - lr sign(m). Source: Bernstein et al., arXiv:1802.04434."""

    def __init__(self, params: Iterable[Any], lr: float = 0.01, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    state = self.state[param]
                    mean = state.setdefault("sign_momentum", torch.zeros_like(param))
                    mean.mul_(group["momentum"]).add_(param.grad)
                    param.add_(mean.sign(), alpha=-group["lr"])
        return loss
