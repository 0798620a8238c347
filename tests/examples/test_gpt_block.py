from __future__ import annotations

from pathlib import Path

import torch

from tests.examples.sessions import assert_shown, run_session


def test_the_session_runs_and_prints_what_the_readme_shows(tmp_path: Path) -> None:
    printed = run_session("gpt_block", tmp_path)
    assert_shown("gpt_block", printed)
    state = torch.load(tmp_path / "back.pth", weights_only=True)
    assert state["wte.weight"].data_ptr() == state["lm_head.weight"].data_ptr()
