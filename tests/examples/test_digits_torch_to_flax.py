from __future__ import annotations

from pathlib import Path

import torch

from tests.examples.sessions import assert_shown, run_session


def test_the_session_runs_and_prints_what_the_readme_shows(tmp_path: Path) -> None:
    printed = run_session("digits_torch_to_flax", tmp_path)
    assert_shown("digits_torch_to_flax", printed)
    before = torch.load(tmp_path / "digits.pth", weights_only=True)
    after = torch.load(tmp_path / "back.pth", weights_only=True)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]) or name.endswith("num_batches_tracked"), name
