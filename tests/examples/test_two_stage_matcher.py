from __future__ import annotations

import pickle
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.examples.sessions import EXAMPLES, assert_shown, run_session


@pytest.mark.slow
def test_the_session_runs_and_prints_what_the_readme_shows(tmp_path: Path) -> None:
    printed = run_session("two_stage_matcher", tmp_path)
    assert_shown("two_stage_matcher", printed)
    alone, both = (
        pickle.loads((tmp_path / folder / "stage2_final.pkl").read_bytes())["params"]
        for folder in (".", "both")
    )
    for mine, theirs in zip(jax.tree.leaves(alone), jax.tree.leaves(both), strict=True):
        assert np.array_equal(mine, theirs)  # stage two began with the same weights
    branches = [jax.tree.leaves(alone[name]) for name in ("transformer_global", "transformer_local")]
    assert not all(map(np.array_equal, *branches))  # and its branches went their own ways


def test_the_scripts_know_one_import_of_it() -> None:
    for script in ("models.py", "train_stage1.py", "train_both.py"):
        assert "ckpt_core" not in (EXAMPLES / "two_stage_matcher" / script).read_text(encoding="utf-8")
