"""Sources: bytes by position, members that stay inside, files that stay the same."""

from __future__ import annotations

import gc
import os
import socket
import threading
from pathlib import Path

import pytest

from ckpt_core import open_checkpoint
from ckpt_core.arrays import LazyArray
from ckpt_core.errors import CheckpointNotFoundError, ClosedError, DamagedFileError, UnsafePathError
from ckpt_core.source import Source
from ckpt_core.tree import walk


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a").write_bytes(bytes(range(100)))
    (tmp_path / "in" / "sub" / "b").write_bytes(b"b")
    (tmp_path / "outside").write_bytes(b"secret")
    return tmp_path / "in"


def test_reading_by_position(folder):
    with Source(folder / "a") as source:
        assert source.read(10, 5) == bytes(range(10, 15))
        window = source.window(50, 20)
        assert (window.size, window.read(0, 3), window.head) == (
            20,
            bytes([50, 51, 52]),
            bytes(range(50, 70)),
        )
        for part in (source, window):
            for offset, length in [
                (0, part.size + 1),
                (-1, 2),
                (part.size, 1),
                (0, 2**62),
                (2**62, 1),
                (0, -1),
            ]:
                with pytest.raises(DamagedFileError, match="are declared"):
                    part.read(offset, length)
        with pytest.raises(DamagedFileError):
            window.window(10, 11)


def test_reading_after_close_is_an_error(folder):
    source = Source(folder / "a")
    source.read(0, 1)
    source.close()
    with pytest.raises(ClosedError, match="the checkpoint is closed"):
        source.read(0, 1)


def test_a_file_cut_off_or_replaced_underneath_is_noticed(folder):
    with Source(folder / "a") as source:
        source.read(0, 1)
        os.truncate(folder / "a", 10)
        with pytest.raises(DamagedFileError, match="ends at byte 10"):
            source.read(0, 50)
    with Source(folder / "a") as source:
        (folder / "a").write_bytes(b"other")
        with pytest.raises(DamagedFileError, match="changed since"):
            source.read(0, 1)


def test_members_stay_inside(folder):
    (folder / "out").symlink_to(folder.parent / "outside")
    (folder / "up").symlink_to(folder.parent)
    (folder / "near").symlink_to("sub/b")
    with Source(folder) as source:
        assert source.members() == ("a", "near", "out", "sub", "up")
        assert source.member("sub/b").read(0, 1) == b"b"
        assert source.member("near").read(0, 1) == b"b"
        for name in [
            "../outside",
            "/etc/passwd",
            "sub/../a",
            "",
            ".",
            "a//b",
            "x\0",
            "sub\\b",
            "out",
            "up",
            "up/outside",
        ]:
            with pytest.raises(UnsafePathError):
                source.member(name)
        with pytest.raises(CheckpointNotFoundError):
            source.member("nothing")
    with Source(folder, follow_symlinks=True) as source:
        assert source.member("out").read(0, 6) == b"secret"


def test_links_into_a_hub_cache_are_followed(tmp_path):
    snapshot = tmp_path / "models--x" / "snapshots" / "abc"
    blobs = tmp_path / "models--x" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "1").write_bytes(b"blob")
    (snapshot / "model").symlink_to("../../blobs/1")
    (snapshot / "evil").symlink_to("../../../secret")
    (tmp_path / "secret").write_bytes(b"s")
    with Source(snapshot) as source:
        assert source.member("model").read(0, 4) == b"blob"
        with pytest.raises(UnsafePathError, match="link out of the checkpoint"):
            source.member("evil")


def test_special_files_do_not_block(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "sock"))
        for name in ("fifo", "sock"):
            with pytest.raises(UnsafePathError, match="neither a regular file"):
                Source(tmp_path / name)
            with pytest.raises(UnsafePathError, match="neither a regular file"):
                Source(tmp_path).member(name)


@pytest.mark.parametrize("path", ["nothing", "a\0b", "x" * 5000])
def test_what_is_not_there_is_said(tmp_path, path):
    with pytest.raises(CheckpointNotFoundError):
        Source(tmp_path / path)


def test_many_files_and_threads_share_a_few_descriptors(tmp_path):
    for i in range(200):
        (tmp_path / str(i)).write_bytes(bytes([i]) * 10)
    with Source(tmp_path) as source:
        wrong: list[int] = []

        def read() -> None:
            for i in range(200):
                if source.member(str(i)).read(3, 4) != bytes([i]) * 4:
                    wrong.append(i)

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert len(os.listdir("/proc/self/fd")) < 150


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc")
@pytest.mark.parametrize(
    "name",
    [
        "huggingface/sharded",
        "huggingface/trainer",
        "msgpack/flax_0.12_trainstate.msgpack",
        "orbax/0.12.8_nnx",
        "pickle/jax_0.4.13_p4.pkl",
        "safetensors/numpy.safetensors",
        "torch/zip_2.13_training.pt",
    ],
)
def test_a_checkpoint_that_nobody_closed_leaves_no_file_open(name):
    """It goes as soon as nobody holds it, without a search for cycles: a loop over many files runs out of none."""
    golden = Path(__file__).parent / "golden" / name
    with open_checkpoint(golden):
        pass
    gc.collect()
    gc.disable()
    try:
        before = len(os.listdir("/proc/self/fd"))
        ckpt = open_checkpoint(golden)
        leaf = next(node for _, node in walk(ckpt.tree) if isinstance(node, LazyArray))
        del ckpt
        leaf.read()
        del leaf
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        gc.enable()
