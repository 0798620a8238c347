"""Run a conversion again and again, killed or failing at each file operation in turn (used by test_commit).

    python tests/crashing.py SOURCE TARGET FORMAT MODE [--old OLD]

MODE is before, after (killed before or after the operation), ENOSPC or EIO (the operation fails). Each try is
a forked child. After each, the target must be the old one or the new one, whole; a failure must show in the
exit status; and a next run must leave nothing but the target. Prints one JSON line with the number of tries.
"""

from __future__ import annotations

import errno
import gc
import hashlib
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable

from ckpt_core import sink
from ckpt_core.api import convert
from ckpt_core.errors import CheckpointError

OPERATIONS = [
    "open",
    "write",
    "pwrite",
    "writev",
    "copy_file_range",
    "fsync",
    "fdatasync",
    "rename",
    "replace",
    "mkdir",
    "makedirs",
    "unlink",
    "rmdir",
    "ftruncate",
    "link",
    "symlink",
    "truncate",
]
KILLED = 9
FAILED = 3


def digest(path: str) -> str:
    """A digest of a file or a directory with everything in it; "" for nothing."""
    if not os.path.lexists(path):
        return ""
    total = hashlib.sha256()
    if os.path.isdir(path):
        for folder, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                full = os.path.join(folder, name)
                total.update(f"{os.path.relpath(full, path)}\0".encode())
                with open(full, "rb") as file:
                    total.update(file.read())
    else:
        with open(path, "rb") as file:
            total.update(file.read())
    return total.hexdigest()


def instrument(mode: str, at: int) -> Callable[[], int]:
    """Count the file operations from here on, and stop at number `at`."""
    count = 0

    def wrap(real):
        def operation(*args, **kwargs):
            nonlocal count
            if real is os_open and not (len(args) > 1 and args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                return real(*args, **kwargs)
            count += 1
            if count == at and mode == "before":
                os._exit(KILLED)
            if count == at and mode.startswith("E"):
                raise OSError(getattr(errno, mode), os.strerror(getattr(errno, mode)))
            result = real(*args, **kwargs)
            if count == at and mode == "after":
                os._exit(KILLED)
            return result

        return operation

    os_open = os.open
    for name in OPERATIONS:
        if hasattr(os, name):
            setattr(os, name, wrap(getattr(os, name)))
    sink._rename_flags = wrap(sink._rename_flags)
    return lambda: count


def attempt(mode: str, at: int, job: Callable[[], None]) -> tuple[int, int]:
    """Fork, run the job with the operation number `at` stopped; returns (exit status, operations done)."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        done = instrument(mode, at)
        status = 0
        try:
            job()
        except CheckpointError:
            status = FAILED
        except BaseException as error:
            print(f"not a CheckpointError: {error!r}", file=sys.stderr)
            status = 4
        real_write(writer, str(done()).encode())
        os._exit(status)
    os.close(writer)
    text = b""
    while chunk := os.read(reader, 100):
        text += chunk
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), int(text or -1)


real_write = os.write


def main() -> None:
    warnings.simplefilter("ignore")
    source, target, to, mode = sys.argv[1:5]
    old = sys.argv[6] if "--old" in sys.argv else None
    folder = os.path.dirname(target)

    def reset() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        if old is not None:
            (shutil.copytree if os.path.isdir(old) else shutil.copy)(old, target)

    def job() -> None:
        convert(source, target, to=to, force=old is not None)

    reset()
    before = stable(target, digest(target))
    job()
    after = stable(target, digest(target))
    gc.freeze()
    tries = 0
    for at in range(1, 100_000):
        reset()
        status, done = attempt(mode, at, job)
        if status == 0 and done < at:
            break
        tries += 1
        found = stable(target, digest(target))
        assert found in (before, after), f"operation {at}: the target is neither the old one nor the new one"
        assert status in (KILLED, FAILED, 0), f"operation {at}: exit status {status}"
        assert status != 0 or found == after, f"operation {at}: exit 0 without the new target"
        if mode.startswith("E"):
            left = [name for name in os.listdir(folder) if name != os.path.basename(target)]
            assert not left or found == after, (
                f"operation {at}: left {left}"
            )  # the old one's removal may fail
        convert(source, target, to=to, force=True)
        assert os.listdir(folder) == [os.path.basename(target)], (
            f"operation {at}: {os.listdir(folder)} after the next run"
        )
    print(json.dumps({"tries": tries}))


def stable(target: str, found: str) -> str:
    """A digest that does not depend on the time of the commit, which Orbax's marker states."""
    marker = os.path.join(target, "_CHECKPOINT_METADATA")
    if not os.path.isfile(marker):
        return found
    with open(marker) as file:
        text = json.load(file)
    for key in ("init_timestamp_nsecs", "commit_timestamp_nsecs"):
        text.pop(key, None)
    names = {
        name: digest(os.path.join(target, name))
        for name in sorted(os.listdir(target))
        if not name.startswith("_CHECKPOINT")
    }
    return json.dumps([text, names], sort_keys=True)


if __name__ == "__main__":
    main()
