from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.sessions import assert_shown, run_session


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_session_runs_and_prints_what_the_readme_shows(tmp_path: Path) -> None:
    assert_shown("set_diffusion", run_session("set_diffusion", tmp_path))
