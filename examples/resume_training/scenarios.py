"""Every scenario of resuming, in both frameworks; what goes on must end bit for bit where it would have.

    python scenarios.py [--out DIR]

Prints every command with its real output, and ends with exit code 1 where something is not what it should be.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from preemption import STOPPED

from ckpt_core import Run, hash_weights, open_checkpoint

os.environ.setdefault("JAX_PLATFORMS", "cpu")
HERE = Path(__file__).parent
QUIET = {"PYTHONWARNINGS": "ignore", "JAX_PLATFORMS": "cpu", "NO_COLOR": "1"}


class Scenarios:
    """Runs one training script in runs of one folder."""

    def __init__(self, script: str, out: Path) -> None:
        self.script = script
        self.out = out
        self.failures: list[str] = []

    def train(self, *words: str, out: str, code: int = 0, says: str = "", own_process: bool = False) -> None:
        """Run the script and print its output; the code and a text in the output are expected."""
        words = ("--out", out, *words)
        print(f"\n$ python {self.script} {shlex.join(words)}", flush=True)
        ended, text = (self.in_process if own_process else self.here)(words)
        print(text.replace(f"{self.out}/", "").rstrip(), flush=True)
        self.expect(ended == code, f"exit code {ended}, not {code}")
        self.expect(says in text, f"does not say {says!r}")

    def in_process(self, words: Sequence[str]) -> tuple[int, str]:
        """Run it as a process of its own, which a signal can stop."""
        command = [sys.executable, str(HERE / self.script), *words]
        done = subprocess.run(
            command, cwd=self.out, env={**os.environ, **QUIET}, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def here(self, words: Sequence[str]) -> tuple[int, str]:
        """Run it in this process, which spares the imports."""
        text, before = io.StringIO(), Path.cwd()
        os.chdir(self.out)
        try:
            with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
                code = importlib.import_module(self.script[:-3]).main(list(words))
        except SystemExit as stop:  # argparse
            code = stop.code
        finally:
            os.chdir(before)
        return code, text.getvalue()

    def expect(self, holds: bool, problem: str) -> None:
        if not holds:
            self.failures.append(f"{self.script}: {problem}")
            print(f"!! {problem}")

    def final(self, out: str, name: str = "final") -> tuple[str, str]:
        """Digests of the weights and of the optimizer's state of a run's final checkpoint."""
        entry = Run(self.out / out / f"{self.script[6:-3]}_lr_0.003").select(prefer=name).entry
        with open_checkpoint(entry.path) as ckpt:
            state = ckpt.opt_state
            moments = [(n, a[:].tobytes()) for slot in ("mu", "nu") for n, a in leaves(state.slots[slot])]
            return hash_weights(ckpt), str(hash(tuple(moments)))

    def same(self, out: str) -> None:
        """Expect that a run ended exactly where the one that was never interrupted did."""
        is_same = self.final(out) == self.final("straight")
        self.expect(is_same, f"{out} ended elsewhere")
        print(
            f"=> {out}: weights and optimizer are {'' if is_same else 'NOT '}those of the run that was never stopped"
        )


def leaves(node: object, name: str = "") -> list[tuple[str, object]]:
    if isinstance(node, dict):
        return [leaf for key, child in sorted(node.items()) for leaf in leaves(child, f"{name}/{key}")]
    return [(name, node)]


def play(script: str, out: Path) -> list[str]:
    """Play all scenarios with one script; returns what was not as it should be."""
    s = Scenarios(script, out)
    runs = f"{script[6:-3]}_lr_0.003"
    suffix = {"train_torch.py": ".pth", "train_flax.py": ".orbax"}[script]
    print(f"\n# 0. {script}: a run that is never stopped")
    s.train("--fresh_start", out="straight", says="epoch 4: val_acc")

    print(
        "\n# 1. auto, and nothing is there: a fresh start; the signal comes at step 57, in the middle of an epoch"
    )
    s.train(
        "--auto_resume",
        "--preempt_at",
        "57",
        out="stopped",
        code=STOPPED,
        says="fresh start",
        own_process=True,
    )

    print("\n# 2. auto, and something is there: it goes on with the next batch")
    shutil.copytree(out / "stopped", out / "damaged")
    s.train("--auto_resume", out="stopped", says="of which 11 batches are done, after step 57")
    s.same("stopped")

    print("\n# 3. auto, and the newest file is damaged: the newest whole one, and it says so")
    damage(out / "damaged" / runs / f"checkpoint_epoch_2_step_57{suffix}")
    s.train("--auto_resume", out="damaged", says="note: skipped checkpoint_epoch_2_step_57")
    s.same("damaged")

    print("\n# 4. resume with a path: that checkpoint, optimizer and counters included")
    path = f"straight/{runs}/checkpoint_epoch_3{suffix}"
    s.train("--resume", "--model_path", path, out="named", says="goes on: with epoch 4, after step 69")
    s.same("named")

    print("\n# 5. a path alone: its weights, a fresh optimizer, the epoch counter from zero")
    s.train(
        "--model_path",
        path,
        "--epochs",
        "1",
        out="warm",
        says="with epoch 1, after step 0; 1 of 1 epochs remain",
    )

    print("\n# 6. what contradicts itself is refused, with the reason")
    s.train("--resume", "--fresh_start", out="none", code=2, says="contradict each other")
    s.train("--resume", out="none", code=2, says="does not say what to resume")
    s.expect(not (out / "none").exists(), "a refused run left something")

    print("\n# and nothing remains of a run that is done")
    s.train("--auto_resume", out="stopped", says="not at all: 4 of 4 epochs are done")
    return s.failures


def damage(path: Path) -> None:
    """Cut a checkpoint off, as a full disk does: a file, or the largest file of a directory."""
    target = (
        path
        if path.is_file()
        else max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    )
    os.truncate(target, target.stat().st_size // 2)
    if path.is_dir():
        (path / "_METADATA").write_bytes(b"")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "out")
    parser.add_argument("--script", action="append", choices=["train_torch.py", "train_flax.py"])
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    failures = []
    for script in args.script or ["train_torch.py", "train_flax.py"]:
        folder = args.out.absolute() / script[6:-3]
        folder.mkdir(parents=True)
        failures += play(script, folder)
    print("\n" + ("\n".join(failures) or "all scenarios ended as they should"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
