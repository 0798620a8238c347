from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.serialization
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file
from torch import nn

from ckpt_core.cli import ckpt


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run the command in this process."""
    return lambda *args: CliRunner().invoke(ckpt, [str(arg) for arg in args])


@pytest.fixture
def run_json(run: Callable[..., Result]) -> Callable[..., dict[str, Any]]:
    """Run the command with --json, expect success, and parse what it prints."""

    def call(*args: object) -> dict[str, Any]:
        result = run(*args, "--json")
        assert result.exit_code in (0, 1), result.stderr
        assert result.stdout.count("\n") == 1
        return json.loads(result.stdout, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))

    return call


@pytest.fixture
def process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command as a process of its own."""

    def call(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ckpt_core.cli", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)

    return call


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.Linear(4, 12)
        self.norm = nn.BatchNorm1d(12)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(10, 4)
        self.h = nn.ModuleList([Block() for _ in range(3)])
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = self.wte(tokens)
        for block in self.h:
            hidden = hidden + block.norm(block.attn(hidden))[:, :4]
        return self.head(hidden)


def training_state() -> dict[str, Any]:
    torch.manual_seed(0)
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.001)
    model(torch.arange(8)).square().sum().backward()
    optimizer.step()
    return {
        "epoch": 10,
        "global_step": 4120,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "val_loss": 0.3876,
        "val_acc": np.float64(0.9984),
        "best_loss": float("nan"),
        "args": argparse.Namespace(lr=0.001, data="/home/jane/digits", sizes={"hidden": [4, 12]}),
        "timestamp": 1714739696.5,
    }


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one training run in several containers: a.pth, weights.safetensors, weights.msgpack."""
    folder = tmp_path_factory.mktemp("files")
    state = training_state()
    torch.save(state, folder / "a.pth")
    weights = {name: tensor.clone() for name, tensor in state["model_state_dict"].items()}
    save_file(weights, folder / "weights.safetensors", metadata={"owner": "jane"})
    nested: dict[str, Any] = {}
    for name, tensor in weights.items():
        *above, last = name.split(".")
        node = nested
        for key in above:
            node = node.setdefault(key, {})
        node[last] = tensor.numpy()
    (folder / "weights.msgpack").write_bytes(flax.serialization.to_bytes(nested))
    state["epoch"] = 11
    state["model_state_dict"]["h.1.attn.weight"].mul_(1.5)
    torch.save(state, folder / "b.pth")
    weights["h.0.attn.bias"][:2] = torch.tensor([float("nan"), float("inf")])
    weights["h.2.attn.bias"].zero_()
    save_file(weights, folder / "broken.safetensors")
    return folder


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """A safetensors file of 2 GB of zeros that takes no room on the disk."""
    path = tmp_path / "sparse.safetensors"
    size = 2 << 30
    entry = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    header = json.dumps({"w": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + size)
    return path
