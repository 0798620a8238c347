from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for epoch in range(1, 6):
        weights = {"w": torch.full((3,), float(epoch))}
        torch.save(
            {"epoch": epoch, "model_state_dict": weights, "val_loss": abs(epoch - 2)},
            tmp_path / f"epoch_{epoch}.pth",
        )
    return tmp_path


def test_a_dry_run_unless_told(run, folder) -> None:
    result = run("prune", folder, "--keep-last", "1")
    assert result.exit_code == 0, result.stderr
    assert "keep    epoch_2.pth  the best by val_loss" in result.stdout
    assert "keep    epoch_5.pth  the latest" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("would remove 3 checkpoints, ")
    assert len(os.listdir(folder)) == 5
    told = run("prune", folder, "--keep-last", "1", "--yes")
    assert told.stdout.splitlines()[-1].startswith("removed 3 checkpoints, ")
    assert sorted(os.listdir(folder)) == ["epoch_2.pth", "epoch_5.pth"]
    assert run("prune", folder, "--keep-last", "1", "--yes").stdout.splitlines()[-1] == "nothing to remove"


def test_json(run_json, folder) -> None:
    found = run_json("prune", folder, "--keep-best", "2", "--metric", "val_loss", "--every", "4")
    assert not found["done"] and found["freed"] > 0
    assert found["removed"] == ["epoch_3.pth"]
    assert {row["name"]: row["reason"] for row in found["kept"]}["epoch_4.pth"] == "each 4th epoch"


def test_errors(run, folder) -> None:
    result = run("prune", folder)
    assert result.exit_code == 2 and "no rule says what to keep" in result.stderr
    result = run("prune", folder, "--keep-best", "1", "--metric", "val_acc")
    assert result.exit_code == 2 and "no checkpoint has the metric 'val_acc'" in result.stderr
