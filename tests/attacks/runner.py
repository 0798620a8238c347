"""Runs a suite in worker processes; a worker that dies or does not answer is a finding, and is replaced."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SECONDS = 60
"""A file that was not read in that time hangs."""

START_SECONDS = 120


def run(suite: str, folder: Path, shards: int = 2, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """Return one result per case: its name, what was expected, the outcome, and the rule that was broken."""
    with ThreadPoolExecutor(shards) as pool:
        parts = pool.map(lambda shard: _shard(suite, folder, shard, shards, seconds), range(shards))
        return sorted((result for part in parts for result in part), key=lambda result: result["number"])


def _shard(suite: str, folder: Path, shard: int, shards: int, seconds: float) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    first = 0
    while True:
        place = folder / f"{suite}-{shard}-{first}"
        place.mkdir(parents=True)
        done, culprit = _worker(suite, place, [str(shard), str(shards), str(first)], seconds)
        results += done
        if culprit is None:
            return results
        results.append(culprit)
        first = culprit["number"] + 1


def _worker(
    suite: str, place: Path, numbers: list[str], seconds: float
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Run one worker to its end; returns its results, and the case at which it died or hung."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "MALLOC_ARENA_MAX": "2",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(paths),
        "TMPDIR": str(place),
    }
    command = [sys.executable, "-m", "tests.attacks.worker", str(place), suite, *numbers]
    complaints = place / "stderr"
    with (
        complaints.open("w") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=ROOT, text=True
        ) as process,
    ):
        assert process.stdout is not None
        lines: queue.Queue[str | None] = queue.Queue()
        reader = threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True)
        reader.start()
        results: list[dict[str, Any]] = []
        current: dict[str, Any] | None = None
        try:
            while True:
                line = lines.get(timeout=seconds if current else START_SECONDS)
                if line is None:
                    break
                message = json.loads(line)
                if "outcome" in message:
                    results.append(message)
                    current = None
                else:
                    current = message
        except queue.Empty:
            process.kill()
            if current is None:
                raise RuntimeError(
                    f"a worker of {suite} made no case: {complaints.read_text()[-2000:]}"
                ) from None
            return results, {**current, "outcome": "hung", "broken": f"no answer after {seconds} seconds"}
        code = process.wait()
    if current is not None:
        text = complaints.read_text()[-1000:]
        return results, {**current, "outcome": "crashed", "broken": f"the process ended with {code}: {text}"}
    if code:
        raise RuntimeError(f"a worker of {suite} ended with {code}: {complaints.read_text()[-2000:]}")
    return results, None


def _read_lines(stream: Any, lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def main() -> None:
    """python -m tests.attacks.runner SUITE: print what broke."""
    import collections
    import tempfile

    for suite in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            results = run(suite, Path(folder))
        print(
            suite, len(results), dict(collections.Counter((r.get("expect"), r["outcome"]) for r in results))
        )
        for result in results:
            if result["broken"]:
                print("BROKEN", result["name"], result["outcome"], result["broken"])


if __name__ == "__main__":
    main()
