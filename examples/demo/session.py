"""Train twice, then open, convert, compare and check the checkpoints; `make demo` runs this.

    python session.py [--out DIR]

Prints every command with its real output. Ends with exit code 1 where a command, or the accuracy of a restored
network, is not what it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TARGETS = {
    "torch": ".pth",
    "safetensors": ".safetensors",
    "orbax": "_orbax",
    "msgpack": ".msgpack",
    "pickle": ".pkl",
}
QUIET = {"PYTHONWARNINGS": "ignore", "JAX_PLATFORMS": "cpu", "NO_COLOR": "1", "COLUMNS": "100"}


@dataclass(frozen=True)
class Saved:
    """A checkpoint that training left: its file, its format, and where the weights are in it."""

    path: str
    format: str
    weights: str


SAVED = (
    Saved("digits_epoch_8.pth", "torch", "model_state_dict."),
    Saved("digits_orbax", "orbax", "state."),
    Saved("digits.msgpack", "msgpack", ""),
    Saved("digits.pkl", "pickle", "state."),
)


class Session:
    """Runs commands in one directory and prints them as a terminal would show them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.failures: list[str] = []

    def run(self, *words: str, exit_code: int = 0, show: bool = True) -> str:
        """Run one command, print it with its output, and note an exit code that was not expected."""
        program = str(Path(sys.executable).with_name("ckpt"))
        done = subprocess.run(
            [program, *words[1:]] if words[0] == "ckpt" else [sys.executable, *words[1:]],
            cwd=self.directory,
            env={**os.environ, **QUIET},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if show or done.returncode != exit_code:
            print(f"$ {shlex.join(words)}\n{done.stdout.rstrip()}\n", flush=True)
        if done.returncode != exit_code:
            self.failures.append(f"{shlex.join(words)}: exit code {done.returncode}, not {exit_code}")
        return done.stdout

    def expect(self, truth: bool, failure: str) -> None:
        """Note a failure where something is not as it should be."""
        if not truth:
            self.failures.append(failure)


def train(session: Session) -> None:
    """Leave the two PyTorch checkpoints and the three of Flax; the two trainings run side by side."""
    scripts = [str(HERE / name) for name in ("train_torch.py", "train_flax.py")]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda script: session.run("python", script, "--out", ".", show=False), scripts))
    names = sorted(
        path.name + "/" * path.is_dir() for path in session.directory.iterdir() if path.name != "converted"
    )
    print(f"trained: {'  '.join(names)}\n", flush=True)


def look_and_compare(session: Session) -> None:
    """Show what is in the checkpoints, and how far training moved the weights in its second half."""
    session.run("ckpt", "inspect", "digits_epoch_8.pth")
    session.run("ckpt", "inspect", "digits_orbax", "--depth", "1")
    session.run("ckpt", "inspect", "digits.pkl", "--filter", "conv1/**", "--stats")
    session.run("ckpt", "ls", ".", "--best", "test_accuracy")
    session.run("ckpt", "config", "digits_epoch_8.pth", "--set", "lr=0.001")
    session.run("ckpt", "inspect", "digits_orbax", "--template", "flax.json")
    session.run("ckpt", "validate", "digits_epoch_8.pth", "--like", "flax.json", exit_code=1)
    session.run(
        "ckpt", "diff", "digits_epoch_4.pth", "digits_epoch_8.pth", "--stats", "--weights-only", exit_code=1
    )


def convert_all(session: Session) -> dict[tuple[Saved, str], Path]:
    """Convert each checkpoint into every format; each copy must be equal, and the weights of one keep their hash."""
    made = {}
    shutil.rmtree(session.directory / "converted", ignore_errors=True)
    (session.directory / "converted").mkdir()
    for saved in SAVED:
        for target, suffix in TARGETS.items():
            if target == saved.format and target != "torch":
                continue  # .pth to .pth is worth it: the copy holds nothing that weights_only=True refuses
            copy = f"converted/from_{saved.format}{suffix}"
            session.run("ckpt", "convert", saved.path, copy)
            session.run("ckpt", "diff", saved.path, copy, show=saved.format == "torch")
            made[saved, target] = session.directory / copy
    copies = [f"converted/from_torch{suffix}" for suffix in TARGETS.values()]
    digests = {session.run("ckpt", "hash", path).split()[0] for path in ("digits_epoch_8.pth", *copies)}
    session.expect(len(digests) == 1, f"the copies of one checkpoint have other weights: {sorted(digests)}")
    return made


def scorers() -> dict[bool, Callable[[dict[str, object]], float]]:
    """Return what computes the held-out accuracy of weights: True for PyTorch's, False for Flax's."""
    import train_flax
    import train_torch
    from data import digits
    from official import nested

    data = digits()
    return {
        True: lambda weights: train_torch.accuracy(weights, data),
        False: lambda weights: train_flax.accuracy(nested(weights), data),
    }


def check_accuracy(session: Session, made: dict[tuple[Saved, str], Path]) -> None:
    """Load every copy with the official loaders of its format, and test the network on the held-out digits."""
    os.environ.update(QUIET)
    from official import LOADERS, below

    score = scorers()
    trained = {
        saved: json.loads(session.run("ckpt", "inspect", path, "--json", show=False))["metrics"][
            "test_accuracy"
        ]
        for saved, path in ((True, "digits_epoch_8.pth"), (False, "digits_orbax"))
    }
    print("accuracy on the held-out digits, each copy read by its format's own library\n")
    for (saved, target), path in made.items():
        for name, load in LOADERS[target].items():
            is_torch = saved.format == "torch"
            weights = below(load(path), saved.weights)
            if not is_torch:
                weights = {
                    key: value
                    for key, value in weights.items()
                    if key.startswith(("params.", "batch_stats."))
                }
            accuracy = score[is_torch](weights)
            print(f"  {accuracy:.2%}  {saved.path:<18}  ->  {name}", flush=True)
            session.expect(
                accuracy == trained[is_torch],
                f"{path.name}: {name} gives {accuracy}, trained {trained[is_torch]}",
            )
    print()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "out")
    directory = parser.parse_args().out
    directory.mkdir(parents=True, exist_ok=True)
    session = Session(directory)
    train(session)
    if not session.failures:
        look_and_compare(session)
        check_accuracy(session, convert_all(session))
    for failure in session.failures:
        print(f"FAILED  {failure}", file=sys.stderr)
    if not session.failures:
        print("All copies are equal, and every network is as accurate as it was trained.")
    return 1 if session.failures else 0


if __name__ == "__main__":
    sys.exit(main())
