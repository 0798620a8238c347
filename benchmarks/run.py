"""Time ckpt_core side by side with what a person would write by hand, and print the ratios.

    python -m benchmarks.run [FOLDER] [--small] [--runs N] [--only WORD]

The two sides of a row take turns, each in a process of its own, and the medians are compared. Opening and
converting are timed inside the process, after its imports; `ckpt inspect` is timed as a whole process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import NAMES, big, many, write_all

OPEN_ROWS = {
    "torch": ["torch.load", "torch.load(mmap=True)"],
    "safetensors": ["safe_open + shapes"],
    "pickle": ["pickle.load"],
    "msgpack": ["msgpack_restore"],
    "orbax": ["orbax restore", "orbax metadata"],
    "orbax_plain": ["orbax metadata (plain)"],
}
CONVERT_ROWS = {
    ("torch", "safetensors"): ["torch.load + save_file", "torch.load(mmap=True) + save_file"],
    ("safetensors", "torch"): ["load_file + torch.save"],
    ("safetensors", "msgpack"): ["load_file + msgpack_serialize"],
    ("safetensors", "pickle"): ["load_file + pickle.dump"],
    ("pickle", "safetensors"): ["pickle.load + save_file"],
    ("msgpack", "safetensors"): ["msgpack_restore + save_file"],
    ("torch", "torch"): [],
    ("torch", "orbax"): ["torch.load + orbax save"],
    ("orbax", "safetensors"): ["orbax restore + save_file"],
    ("orbax_plain", "safetensors"): [],
}

MANY_ROWS = [
    ("torch", "safetensors"), ("safetensors", "torch"), ("pickle", "safetensors"), ("msgpack", "torch"),
    ("orbax", "safetensors"), ("orbax", "torch"), ("safetensors", "orbax"), ("orbax", "orbax"),
]  # fmt: skip


@dataclass(frozen=True)
class Figures:
    """The median of the seconds, the least and the most of them, and the highest private memory in MiB."""

    seconds: float
    mib: float
    low: float
    high: float

    def milliseconds(self) -> str:
        """The median, and the range in brackets."""
        return f"{self.seconds * 1e3:,.1f} ({self.low * 1e3:,.1f}-{self.high * 1e3:,.1f})"

    def text(self) -> str:
        """The same in seconds."""
        return f"{self.seconds:.2f} ({self.low:.2f}-{self.high:.2f})"


def measure(tasks: list[str], folder: Path, runs: int, repeats: int) -> list[Figures]:
    """Run the tasks in turn, `runs` times each, `repeats` times per process."""
    seconds: dict[str, list[float]] = {task: [] for task in tasks}
    mib = dict.fromkeys(tasks, 0.0)
    for _ in range(runs):
        for task in tasks:
            command = [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "benchmarks.tasks",
                task,
                str(folder),
                str(repeats),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{task} failed:\n{done.stderr[-3000:]}")
            result = json.loads(done.stdout.splitlines()[-1])
            seconds[task] += result["seconds"][1:] or result["seconds"]
            mib[task] = max(mib[task], result["mib"])
    return [
        Figures(statistics.median(times), mib[task], min(times), max(times))
        for task, times in seconds.items()
    ]


def opening(folder: Path, runs: int, only: str) -> None:
    """Print how fast structure is read, against every peer."""
    print(
        f"| open, {folder.name} | ckpt ms | private MiB | peer | peer ms | peer / ckpt |\n"
        "| --- | ---: | ---: | --- | ---: | ---: |"
    )
    for name, all_peers in OPEN_ROWS.items():
        peers = [peer for peer in all_peers if (folder.name, peer) != ("many", "orbax restore")]  # minutes
        if only not in f"open {name}" or not (folder / NAMES[name]).exists():
            continue
        ours, *theirs = measure([f"ckpt open {name}", *peers], folder, runs, 4)
        for peer, figures in zip(peers, theirs, strict=True):
            ratio = figures.seconds / ours.seconds
            print(
                f"| {name} | {ours.milliseconds()} | {ours.mib:.0f} | {peer} | {figures.milliseconds()} | {ratio:.1f} x |",
                flush=True,
            )
    print()


def converting(folder: Path, runs: int, only: str) -> None:
    """Print how fast a conversion is, against `cp` and `sync` of the source and against every peer."""
    print(
        f"| convert, {folder.name} | s | private MiB | cp + sync | / (cp + sync) | no-verify / (cp + sync) | peer | s | MiB | peer / ckpt |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |"
    )
    for (name, to), peers in CONVERT_ROWS.items():
        if only not in f"convert {name} {to}" or not (folder / NAMES[name]).exists():
            continue
        row = f"ckpt {name} -> {to}"
        cp, ours, quick, *theirs = measure(
            [f"cp + sync {name}", row, f"{row}, --no-verify", *peers], folder, runs, 1
        )
        start = (
            f"| {name} -> {to} | {ours.text()} | {ours.mib:.0f} | {cp.text()} | {ours.seconds / cp.seconds:.2f} "
            f"| {quick.seconds / cp.seconds:.2f}"
        )
        for peer, figures in zip(peers or [""], theirs or [None], strict=True):
            end = (
                f"| {peer} | {figures.text()} | {figures.mib:.0f} | {figures.seconds / ours.seconds:.1f} x |"
                if figures
                else "| | | | |"
            )
            print(start, end, flush=True)
    print()


def memory(folder: Path, only: str) -> None:
    """Print the private memory that converting very many leaves takes, per format, and the limit for it."""
    count = 1000 if (folder / NAMES["safetensors"]).stat().st_size < 1 << 20 else 100_000
    limit = 64 + count * 2048 / (1 << 20)
    print(f"| convert, {folder.name} | s | private MiB (limit {limit:.0f}) |\n| --- | ---: | ---: |")
    for name, to in MANY_ROWS:
        if only in f"memory {name} {to}" and (folder / NAMES[name]).exists():
            (ours,) = measure([f"ckpt {name} -> {to}"], folder, 1, 1)
            print(f"| {name} -> {to} | {ours.seconds:.1f} | {ours.mib:.0f} |", flush=True)
    print()


def transferring(folder: Path, runs: int) -> None:
    """Print how fast a transfer is that transposes every matrix, against `cp` and `sync`, and the script by hand."""
    print(
        f"| transfer, {folder.name}, every matrix transposed | s | private MiB | / (cp + sync) | by hand / (cp + sync) | by hand MiB |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    names = ["cp + sync safetensors", "ckpt transfer", "load_file + .T.contiguous() + save_file"]
    cp, ours, hand = measure(names, folder, runs, 1)
    print(
        f"| safetensors, with SHA-256 of every leaf | {ours.seconds:.2f} | {ours.mib:.0f} "
        f"| {ours.seconds / cp.seconds:.2f} | {hand.seconds / cp.seconds:.2f} | {hand.mib:.0f} |\n",
        flush=True,
    )


def inspecting(folder: Path, runs: int) -> None:
    """Print how long `ckpt inspect` takes as a whole process, against `import torch` alone."""
    print("| whole process | s |\n| --- | ---: |")
    rows = {f"ckpt inspect {NAMES[name]}": ["inspect", str(folder / NAMES[name])] for name in OPEN_ROWS}
    commands = {"python -c 'import torch'": [sys.executable, "-c", "import torch"]}
    commands |= {row: [sys.executable, "-m", "ckpt_core.cli", *args] for row, args in rows.items()}
    for row, command in commands.items():
        seconds = []
        for _ in range(runs + 1):
            started = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            seconds.append(time.perf_counter() - started)
        print(f"| {row} | {statistics.median(seconds[1:]):.2f} |", flush=True)
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("benchmarks/out"))
    parser.add_argument("--small", action="store_true", help="a hundredth of the size, to try the scripts")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", help="rows that contain this word")
    arguments = parser.parse_args()
    folder, small = arguments.folder.absolute(), arguments.small
    for name, make in (
        ("big", lambda: big(0.01 if small else 1.0)),
        ("many", lambda: many(1000 if small else 100_000)),
    ):
        if not (folder / name / NAMES["orbax"]).exists():
            write_all(folder / name, make())
    opening(folder / "big", arguments.runs, arguments.only)
    opening(folder / "many", max(arguments.runs // 2, 1), arguments.only)
    memory(folder / "many", arguments.only)
    converting(folder / "big", arguments.runs, arguments.only)
    if not arguments.only or arguments.only in "transfer":
        transferring(folder / "big", arguments.runs)
    if not arguments.only or arguments.only in "inspect":
        inspecting(folder / "big", arguments.runs)


if __name__ == "__main__":
    main()
