"""Runs written by hand, as training scripts write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Saver = Callable[..., Path]


def trained(seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """A small model after one step of AdamW."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.randn(4, 6)).square().sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.fixture
def save(tmp_path: Path) -> Saver:
    """Write a checkpoint with torch.save: `save("epoch_3.pth", epoch=3, seed=1, val_loss=0.2)`."""

    def call(name: str, *, seed: int = 0, optimizer: bool = True, **entries: Any) -> Path:
        model, opt = trained(seed)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {"model_state_dict": model.state_dict(), **entries}
        if optimizer:
            state["optimizer_state_dict"] = opt.state_dict()
        torch.save(state, path)
        return path

    return call
