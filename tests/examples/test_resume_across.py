from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples.sessions import EXAMPLES, run_session


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_run_that_crosses_stays_on_its_trajectory(tmp_path: Path) -> None:
    printed = run_session("resume_across", tmp_path / "out")
    readme = (EXAMPLES / "resume_across" / "README.md").read_text(encoding="utf-8")
    lines = [line.strip() for line in printed.splitlines()]
    for shown in re.findall(r"^(?:Transferred|note:|1 source|mask=).*$", readme, re.MULTILINE):
        assert shown in lines
    ratios = re.search(r"run that stayed: ([\d.]+); without the optimizer ([\d.]+)", printed)
    assert ratios is not None
    assert float(ratios[1]) < 1.02 < 1.2 < float(ratios[2])
    assert (tmp_path / "out" / "resume_across.png").stat().st_size > 10_000
