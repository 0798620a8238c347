"""The scenarios of examples/resume_training end as they should, in both frameworks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "resume_training"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("script", ["train_torch.py", "train_flax.py"])
def test_the_scenarios(script, tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "scenarios.py"), "--script", script, "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for run in ("stopped", "damaged", "named"):
        assert f"=> {run}: weights and optimizer are those of the run that was never stopped" in done.stdout
    assert done.stdout.rstrip().endswith("all scenarios ended as they should")


def test_the_readme_shows_what_is_printed() -> None:
    text = (EXAMPLE / "README.md").read_text()
    assert "of which 11 batches are done, after step 57" in text
    assert "=> damaged: weights and optimizer are those of the run that was never stopped" in text
