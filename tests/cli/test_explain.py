from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner

from ckpt_core.cli import ckpt


@pytest.fixture
def slots(tmp_path):
    torch.save({"model": {"slots_mu": torch.zeros(32, 64)}, "config": {"num_slots": 32}}, tmp_path / "a.pth")
    return tmp_path / "a.pth"


ERROR = (
    "size mismatch for slots_mu: copying a param with shape torch.Size([32, 64]) from checkpoint, "
    "the shape in current model is torch.Size([7, 64])."
)


def test_an_error_is_explained(run, run_json, slots):
    result = run("explain", slots, "--error", ERROR)
    assert result.exit_code == 0
    assert "the model was built with another num_slots than the checkpoint was" in result.stdout
    assert f"ckpt config {slots}" in result.stdout
    found = run_json("explain", slots, "--error", ERROR)
    assert found["known"] is True
    assert found["report"]["fields"][0]["field"] == "num_slots"


def test_the_output_of_a_script_is_read_from_stdin(slots):
    output = (
        f'Traceback (most recent call last):\n  File "train.py", line 9\nRuntimeError: Error\n\t{ERROR}\n'
    )
    result = CliRunner().invoke(ckpt, ["explain", str(slots)], input=output)
    assert result.exit_code == 0
    assert "num_slots = 32 in the checkpoint, 7 in the model" in result.stdout


def test_an_unknown_error_exits_with_1(run, slots):
    result = run("explain", slots, "--error", "KeyError: 'lr'")
    assert result.exit_code == 1
    assert "not a known error" in result.stdout


def test_no_text_is_an_error(slots):
    result = CliRunner().invoke(ckpt, ["explain", str(slots)], input=" \n")
    assert result.exit_code == 2
    assert "there is no error text" in result.stderr
