"""The session that the README shows: stage one, stage two, and both in one go.

python session.py --out out
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def run(line: str, folder: Path, expected: int = 0) -> None:
    """Run one command as a person would, and show it and what it prints."""
    print(f"\n$ {line}", flush=True)
    program, *words = shlex.split(line)
    command = ["-m", "ckpt_core.cli"] if program == "ckpt" else [str(HERE / words.pop(0))]
    done = subprocess.run(
        [sys.executable, *command, *words], cwd=folder, check=False, stderr=subprocess.STDOUT
    )
    assert done.returncode == expected, done.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "out")
    out = parser.parse_args().out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    parts = "--into transformer_global --into transformer_local"
    run("python train_stage1.py --out .", out)
    run("python train_stage2.py --out . --pretrained_ckpt stage1_final.pkl", out)
    run("python train_both.py --out both", out)
    run("python train_stage2.py --out scratch", out)
    run(
        f"ckpt transfer stage1_final.pkl --like stage2_final.pkl --select siamese_transformer {parts} --check",
        out,
    )
    run(
        f"ckpt transfer stage1_final.pkl --like stage2_final.pkl --select backbone {parts} --check",
        out,
        expected=2,
    )


if __name__ == "__main__":
    main()
