"""Train across both frameworks, and draw the loss beside a run that never moved and one that lost its optimizer.

    python session.py [--out DIR]

The run starts in torch, is carried into JAX after 120 steps and back into torch after 240. Ends with exit code 1 where
its loss differs from that of the run that stayed by more than rounding explains.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).parent
CROSSINGS = (120, 240)
STEPS = 360
TOLERANCE = 0.02
"""The largest difference of two losses, smoothed over ten steps, that float32 rounding explains here."""


class Program:
    """A program that was started, and runs beside those that come after it."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self._process = subprocess.Popen(
            [sys.executable, *words],
            cwd=HERE,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self) -> None:
        """Wait for its end, and print it with its output."""
        output, _ = self._process.communicate()
        print(f"$ python {' '.join(self.words)}\n{output.rstrip()}\n", flush=True)
        if self._process.returncode:
            raise SystemExit(self._process.returncode)


def run(*words: str) -> None:
    """Run one program and print it with its output."""
    Program(*words).finish()


def losses(path: Path) -> npt.NDArray[np.float64]:
    """Return the loss of each step of a run."""
    found = np.full(STEPS, np.nan)
    for line in path.read_text().splitlines():
        row = json.loads(line)
        found[row["start"] : row["stop"]] = row["losses"]
    return found


def train(out: Path) -> None:
    """Run the three runs; the one that stays and the one that loses its optimizer go beside the one that crosses."""
    first, second = map(str, CROSSINGS)
    a, b = str(out / "a.pth"), str(out / "b.pth")
    a_flax, b_flax = str(out / "a_flax"), str(out / "b_flax")
    stayed, crossed, lost = (str(out / f"{name}.jsonl") for name in ("stayed", "crossed", "lost"))
    staying = Program("torch_part.py", "--steps", "0", str(STEPS), "--log", stayed)
    run("torch_part.py", "--steps", "0", first, "--save", a, "--log", crossed)
    run("cross.py", "to-flax", a, a_flax)
    on_in_jax = ("flax_part.py", "--steps", first, second, "--resume", a_flax)
    losing = Program(*on_in_jax, "--log", lost, "--lose-optimizer")
    run(*on_in_jax, "--save", b_flax, "--log", crossed)
    run("cross.py", "to-torch", b_flax, b)
    run("torch_part.py", "--steps", second, str(STEPS), "--resume", b, "--log", crossed)
    staying.finish()
    losing.finish()


def draw(out: Path, image: Path) -> None:
    """Draw the three curves, with the crossings marked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    stayed, crossed, lost = (losses(out / f"{name}.jsonl") for name in ("stayed", "crossed", "lost"))
    figure, axes = plt.subplots(figsize=(9, 4.2), dpi=130)
    axes.plot(_smooth(stayed), color="#9aa4b2", linewidth=5, label="stayed in PyTorch")
    colours = ("#ee4c2c", "#3b6fd4", "#ee4c2c")
    edges = (0, *CROSSINGS, STEPS)
    for i, colour in enumerate(colours):
        part = np.full(STEPS, np.nan)
        part[edges[i] : edges[i + 1]] = _smooth(crossed)[edges[i] : edges[i + 1]]
        label = ("crossed: in PyTorch", "crossed: in JAX", None)[i]
        axes.plot(part, color=colour, linewidth=1.6, label=label)
    axes.plot(
        _smooth(lost), color="#222222", linewidth=1.1, linestyle="--", label="crossed without its optimizer"
    )
    for step, text in zip(CROSSINGS, ("PyTorch → JAX", "JAX → PyTorch"), strict=True):
        axes.axvline(step, color="#555555", linewidth=0.8, linestyle=":")
        axes.annotate(
            text,
            (step, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -12),
            textcoords="offset points",
            fontsize=9,
        )
    axes.set_yscale("log")
    axes.set_xlim(0, STEPS)
    axes.set_xlabel("step")
    axes.set_ylabel("training loss (mean of 10 steps)")
    axes.legend(loc="lower left", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(image)


def _smooth(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The mean of the ten steps up to each; of fewer where the run has just begun."""
    padded = np.concatenate([np.full(9, np.nan), values])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 10)
    means = np.nansum(windows, 1) / np.maximum((~np.isnan(windows)).sum(1), 1)
    return np.where(np.isnan(values), np.nan, means)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "out")
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    args.out = args.out.resolve()
    args.out.mkdir(parents=True)
    train(args.out)
    image = args.out / "resume_across.png"
    draw(args.out, image)
    stayed, crossed, lost = (losses(args.out / f"{name}.jsonl") for name in ("stayed", "crossed", "lost"))
    apart = np.abs(np.log(_smooth(crossed) / _smooth(stayed))).max()
    worst = np.nanmax(np.abs(np.log(_smooth(lost) / _smooth(stayed))))
    print(
        f"largest ratio to the run that stayed: {np.exp(apart):.4f}; without the optimizer {np.exp(worst):.2f}"
    )
    print(f"drawn: {image}")
    return 0 if apart < TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
