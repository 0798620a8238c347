from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import torch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three epochs, a copy of the best, and a file that was cut off."""
    for epoch, loss in ((2, 0.5), (9, 0.25), (10, float("nan"))):
        torch.manual_seed(epoch)
        state = {
            "epoch": epoch,
            "step": epoch * 100,
            "model_state_dict": torch.nn.Linear(3, 2).state_dict(),
            "metrics": {"val_loss": loss, "odd": epoch},
            "best_val_loss": 0.25,
        }
        torch.save(state, tmp_path / f"checkpoint_epoch_{epoch}.pth")
    (tmp_path / "best.pth").hardlink_to(tmp_path / "checkpoint_epoch_9.pth")
    (tmp_path / "checkpoint_epoch_11.pth").write_bytes((tmp_path / "best.pth").read_bytes()[:900])
    return tmp_path


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_the_table(run, folder) -> None:
    result = run("ls", folder)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == str(folder)
    shown = [row[:3] for row in rows(result.stdout)[2:7]]
    assert shown == [
        ["1", "checkpoint_epoch_2.pth", "2"],
        ["2", "checkpoint_epoch_9.pth", "9"],
        ["=", "best.pth", "(link)"],
        ["3", "*", "checkpoint_epoch_10.pth"],
        ["4", "checkpoint_epoch_11.pth", "(11)"],
    ]
    assert "periodic, best" in lines[3]
    assert "damaged: " in lines[6]
    assert "best so far: best_val_loss = 0.25 (says checkpoint_epoch_10.pth)" in lines
    assert f"chosen: {folder}/checkpoint_epoch_10.pth (step 1000 is the highest of 3)" in lines


def test_best_sorts_numbers_and_marks(run, folder) -> None:
    lines = run("ls", folder, "--best", "val_loss").stdout.splitlines()
    assert lines[2].split()[:3] == ["1", "*", "checkpoint_epoch_9.pth"]
    assert [line.split()[1] for line in lines[3:7]] == [
        "best.pth",
        "checkpoint_epoch_2.pth", "checkpoint_epoch_10.pth", "checkpoint_epoch_11.pth",
    ]  # fmt: skip
    assert lines[-1] == f"chosen: {folder}/checkpoint_epoch_9.pth (val_loss = 0.25 is the lowest of 2)"


def test_json(run_json, folder) -> None:
    found = run_json("ls", folder, "--best", "odd", "--mode", "max")
    assert found["path"] == str(folder)
    assert (found["chosen"]["name"], found["chosen"]["rule"]) == ("checkpoint_epoch_10.pth", "best")
    by_name = {entry["name"]: entry for entry in found["entries"]}
    assert by_name["checkpoint_epoch_10.pth"]["metrics"] == {"val_loss": "NaN", "odd": 10}
    assert by_name["best.pth"]["linked"] == ["checkpoint_epoch_9.pth"]
    assert by_name["checkpoint_epoch_11.pth"]["state"] == "damaged"
    assert found["metrics"] == {"val_loss": "min", "odd": None}


def test_rules_of_choice(run_json, folder) -> None:
    assert run_json("ls", folder, "--prefer", "best")["chosen"]["rule"] == "prefer"
    assert (
        run_json("ls", folder, "--select", "checkpoint_epoch_2.pth")["chosen"]["reason"]
        == "given by its path"
    )
    assert run_json("ls", folder / "checkpoint_epoch_2.pth")["chosen"]["name"] == "checkpoint_epoch_2.pth"


def test_csv(run, folder) -> None:
    table = list(csv.DictReader(io.StringIO(run("ls", folder, "--csv").stdout)))
    assert sorted(row["epoch"] for row in table) == ["10", "11", "2", "9", "9"]
    assert table[0]["val_loss"] == "0.5"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--best", "odd"], "does not tell whether lower or higher is better"),
        (["--best", "val_los"], "Did you mean val_loss?"),
        (["--best", "best_val_loss"], "is the best value so far"),
        (["--json", "--csv"], "exclude each other"),
    ],
)
def test_errors(run, folder, arguments, message) -> None:
    result = run("ls", folder, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_an_empty_directory(run, folder) -> None:
    (folder / "runs").mkdir()
    result = run("ls", folder / "runs")
    assert result.exit_code == 2
    assert "holds no checkpoint" in result.stderr and f"Looked in {folder}/runs" in result.stderr


def test_a_directory_where_everything_is_damaged(run, tmp_path) -> None:
    (tmp_path / "epoch_1.pth").write_bytes(b"")
    result = run("ls", tmp_path)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "chosen: none; nothing here is whole"
    assert json.loads(run("ls", tmp_path, "--json").stdout)["chosen"] is None


def test_names_move_no_cursor(run, folder) -> None:
    (folder / "best.pth").rename(folder / "epoch_3\x1b[2J.pth")
    assert "\x1b" not in run("ls", folder).stdout
