from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib import pyplot as plt

from tests.examples.sessions import assert_shown, run_session


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_session_runs_and_prints_what_the_readme_shows(tmp_path: Path) -> None:
    printed = run_session("slot_attention", tmp_path)
    assert_shown("slot_attention", printed)
    for kind in ("slots", "features"):
        first, second = (
            plt.imread(tmp_path / f"{stem}_{kind}.png") for stem in ("slot_attention_32", "slots_orbax")
        )
        assert first.shape == second.shape
        assert (first == second).all()
        assert first[..., :3].std() > 0.1  # something is drawn
