"""Both stages in one go: stage one's final path is handed on.

python train_both.py --out out
"""

from __future__ import annotations

import argparse
from pathlib import Path

import train_stage1
import train_stage2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"))
    out = str(parser.parse_args().out)
    first = train_stage1.main(["--out", out])
    train_stage2.main(["--pretrained_ckpt", str(first), "--out", out])


if __name__ == "__main__":
    main()
