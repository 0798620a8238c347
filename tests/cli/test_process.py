"""What only a process of its own shows: exit codes, signals, pipes, terminals, imports."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAVY = ("torch", "jax", "flax", "orbax", "tensorstore", "safetensors", "matplotlib", "rich", "ml_dtypes")


def test_exit_codes(process, files):
    assert process("diff", files / "a.pth", files / "a.pth").returncode == 0
    assert process("diff", files / "a.pth", files / "b.pth").returncode == 1
    assert process("inspect", files / "broken.safetensors", "--stats").returncode == 1
    failed = process("inspect", files / "absent.pth")
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 2
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("first", ["", "import rich; "])
def test_inspect_imports_nothing_heavy(files, first):
    """With `first` the test proves that it can fail."""
    code = (
        f"{first}import sys; from ckpt_core.cli import ckpt; ckpt.main(sys.argv[1:], standalone_mode=False)"
    )
    code += f"; print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    for name in ("a.pth", "weights.safetensors", "weights.msgpack"):
        command = [sys.executable, "-c", code, "inspect", str(files / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr.strip() == ("['rich']" if first else "[]")


def test_a_reader_that_goes_away_is_no_error(files):
    command = [sys.executable, "-m", "ckpt_core.cli", "inspect", str(files / "a.pth"), "--json"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == ""


def test_output_that_was_closed_is_no_failure(files, tmp_path):
    command = [sys.executable, "-m", "ckpt_core.cli"]
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        line = f'"$@" {closed}'
        for arguments, code in (
            (["convert", str(files / "a.pth"), str(tmp_path / "b.pth"), "--force"], 0),
            (["diff", str(files / "a.pth"), str(tmp_path / "b.pth")], 0),
            (["inspect", str(files / "absent.pth")], 2),
        ):
            done = subprocess.run(
                ["sh", "-c", line, "sh", *command, *arguments], capture_output=True, text=True, check=False
            )
            assert done.returncode == code
            assert "failed with" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_is_an_error(files):
    command = [sys.executable, "-m", "ckpt_core.cli", "inspect", str(files / "a.pth")]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode != 0
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


# Tests that run in the background of a shell inherit that interrupts are ignored.
HEEDING_INTERRUPTS = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from ckpt_core.cli import main; main()"
)


def test_an_interrupted_conversion_leaves_nothing(sparse, tmp_path):
    target = tmp_path / "out" / "t.pth"
    target.parent.mkdir()
    command = [
        sys.executable,
        "-c",
        HEEDING_INTERRUPTS,
        "convert",
        str(sparse),
        str(target),
        "--cast",
        "bf16",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while not list(target.parent.iterdir()):
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.005)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert out == ""
    assert err == "interrupted; nothing half-written was left\n"
    assert list(target.parent.iterdir()) == []


def _on_a_terminal(*args: object) -> tuple[int, str, str]:
    """Run with stderr on a terminal and a bar that is due at once; returns exit code, stdout and stderr."""
    code = "import ckpt_core.cli.progress as p; p._PATIENCE = -1; from ckpt_core.cli import main; main()"
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", code, *map(str, args)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=theirs, env=environment, text=True
    ) as running:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
        out, _ = running.communicate(timeout=60)
    os.close(ours)
    return running.returncode, out, shown.decode()


@pytest.mark.parametrize("command", ["hash", "convert", "diff", "stats"])
def test_long_work_shows_a_bar_on_a_terminal_only(process, files, tmp_path, command):
    source = files / "weights.safetensors"
    arguments, what = {
        "hash": (("hash", source), "hashing"),
        "convert": (("convert", source, tmp_path / "t.pth", "--force"), "converting"),
        "diff": (("diff", source, source), "comparing"),
        "stats": (("inspect", source, "--stats"), "reading"),
    }[command]
    code, out, shown = _on_a_terminal(*arguments)
    assert code == 0
    assert what in shown
    assert "\x1b" not in out
    assert process(*arguments).stderr == ""


def test_a_terminal_without_unicode_gets_escapes(process, tmp_path):
    path = tmp_path / "名前.pth"
    failed = process("inspect", path, env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert failed.returncode == 2
    assert "\\u540d" in failed.stderr
