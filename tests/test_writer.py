"""FileWriter: tiles that are written while the next one is made arrive in order, and their errors are not lost."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ckpt_core import convert, durable, open_checkpoint, save_checkpoint
from ckpt_core.arrays import LazyArray
from ckpt_core.errors import TargetError
from ckpt_core.transfer.views import transposed
from ckpt_core.writer import FileWriter

BIG = np.arange(1 << 20, dtype=np.float32).reshape(1 << 9, 1 << 11)


def test_what_is_written_behind_stands_between_what_comes_before_and_after(tmp_path: Path) -> None:
    array = transposed(LazyArray.from_numpy(BIG), (1, 0))
    with FileWriter(str(tmp_path / "file")) as file:
        file.write(b"head")
        file.write_array(array)
        file.write_array(array)
        file.write(b"tail")
        file.overwrite(0, b"HEAD")
        assert file.tell() == 8 + 2 * BIG.nbytes
    assert (tmp_path / "file").read_bytes() == b"HEAD" + 2 * BIG.T.tobytes() + b"tail"


def test_an_error_of_a_tile_is_raised_at_the_latest_on_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    file = FileWriter(str(tmp_path / "file"))
    file.write_array(transposed(LazyArray.from_numpy(BIG), (1, 0)))
    with pytest.raises(TargetError, match="No space left on device"):
        file.close()
    file.close()


def test_between_two_file_systems_the_bytes_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel is asked once a file, and what it refuses is not summed up beside it."""
    asked: list[int] = []

    def refused(*arguments: int) -> int:
        asked.append(arguments[2])
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    weights = {name: torch.full((1 << 20,), float(index)) for index, name in enumerate("abc")}
    torch.save(weights, tmp_path / "model.pth")
    monkeypatch.setattr(os, "copy_file_range", refused)
    monkeypatch.setattr("ckpt_core.writer._Summing", None)
    convert(tmp_path / "model.pth", tmp_path / "model.safetensors")
    assert asked == [4 << 20]
    loaded = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)


WEIGHTS = {name: np.full(1 << 18, index, np.float32) for index, name in enumerate(("k", "l", "m", "n"))}


@pytest.mark.parametrize("to", ["safetensors", "torch", "orbax"])
def test_flushing_while_more_is_written_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    flushed: list[int] = []
    flush = os.fdatasync
    monkeypatch.setattr(durable, "FLUSHED", 1 << 20)
    monkeypatch.setattr(os, "fdatasync", lambda fd: (flushed.append(fd), flush(fd)))
    save_checkpoint(tmp_path / "out", WEIGHTS, to=to)
    monkeypatch.delattr(os, "fdatasync")
    save_checkpoint(tmp_path / "plain", WEIGHTS, to=to)
    assert flushed
    for name in ("out", "plain"):
        with open_checkpoint(tmp_path / name) as ckpt:
            assert all(np.array_equal(ckpt.params[key].read(), value) for key, value in WEIGHTS.items())


@pytest.mark.parametrize("to", ["safetensors", "torch", "orbax"])
def test_an_error_of_the_disk_that_an_early_flush_is_told_ends_the_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    """The system tells it once, so the last flush finds nothing wrong."""

    def broken(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(durable, "FLUSHED", 1 << 20)
    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(TargetError, match="Input/output error") as caught:
        save_checkpoint(tmp_path / "out", WEIGHTS, to=to)
    assert caught.value.path == str(tmp_path / "out")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("to", ["safetensors", "torch", "orbax"])
def test_without_a_thread_to_spare_it_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    """As where a container has reached its limit of processes."""

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    weights = {
        "w": torch.arange(3 << 18).reshape(-1, 3).T
    }  # not as it lies in memory, so that tiles are made
    opened = os.listdir("/proc/self/fd")
    monkeypatch.setattr(durable, "FLUSHED", 1 << 20)
    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", refused)
        save_checkpoint(tmp_path / "out", weights, to=to)
    assert len(os.listdir("/proc/self/fd")) == len(opened)
    with open_checkpoint(tmp_path / "out") as ckpt:
        assert np.array_equal(ckpt.params["w"].read(), weights["w"].numpy())


def test_a_writing_that_failed_leaves_no_flush_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold the file open, and with it the space on a disk that is full."""
    write = os.pwrite

    def full(fd: int, data: memoryview, position: int) -> int:
        if position >= 2 << 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data, position)

    monkeypatch.setattr(durable, "FLUSHED", 1 << 20)
    monkeypatch.setattr(os, "pwrite", full)
    monkeypatch.setattr(os, "fdatasync", lambda _: time.sleep(0.2))
    array = transposed(LazyArray.from_numpy(BIG), (1, 0))
    weights = {"a": array, "b": transposed(LazyArray.from_numpy(BIG + 1), (1, 0))}
    with pytest.raises(TargetError, match="No space left"):
        save_checkpoint(tmp_path / "out.safetensors", weights)
    assert not [thread for thread in threading.enumerate() if thread.name == "ckpt-flush"]


def test_threads_that_write_at_once_begin_one_flush_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two, one would not be waited for, nor what it is told."""
    running: list[int] = []
    most: list[int] = []

    def flush(fd: int) -> None:
        running.append(fd)
        most.append(len(running))
        time.sleep(0.002)
        running.remove(fd)

    monkeypatch.setattr(durable, "FLUSHED", 1)
    monkeypatch.setattr(os, "fdatasync", flush)
    opened = os.listdir("/proc/self/fd")
    flushing = durable.Flushing()
    with open(tmp_path / "out", "wb") as file:
        writers = [
            threading.Thread(target=lambda: [flushing.wrote(file.fileno(), 1) for _ in range(3000)])
            for _ in range(8)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        flushing.finish()
    assert max(most) == 1
    assert not running
    assert len(os.listdir("/proc/self/fd")) == len(opened)
