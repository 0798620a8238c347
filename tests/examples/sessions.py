"""Running an example's session, and comparing what its README shows with what it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_session(name: str, out: Path) -> str:
    """Run `session.py --out out` of an example as a person would, expect success, and return what it prints."""
    command = [sys.executable, "-W", "error", "session.py", "--out", str(out)]
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(
        command, cwd=EXAMPLES / name, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_shown(name: str, printed: str) -> None:
    """Every line that the README shows as output was printed, in order; figures of losses and paths may differ."""
    readme = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    lines = iter(_alike(printed))
    blocks = re.findall(r"^```text\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert blocks
    for shown in _alike("".join(blocks)):
        assert any(line == shown for line in lines), f"not printed, or not in this order: {shown}"


def _alike(text: str) -> list[str]:
    text = re.sub(r"\bloss \d+\.\d+", "loss N", text)
    text = re.sub(r"(?:/[\w.+-]+)+/(?=[\w.+-])", "DIR/", text)
    return [line for line in (" ".join(line.split()) for line in text.splitlines()) if line]
