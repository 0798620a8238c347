"""A target appears whole or not at all, whatever happens on the way."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

from ckpt_core import convert, open_checkpoint, save_checkpoint
from ckpt_core.errors import TargetError, UnsafePathError, UsageError
from ckpt_core.sink import Sink

HERE = Path(__file__).parent
TREE = {
    "model": {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(3, np.float16)},
    "epoch": 3,
    "betas": (0.9, 0.99),
}
TARGETS = {
    "torch": "out.pth",
    "safetensors": "out.safetensors",
    "pickle": "out.pkl",
    "msgpack": "out.msgpack",
    "orbax": "out",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "source.pkl"
    save_checkpoint(path, TREE)
    return path


def test_what_is_no_file_is_never_replaced(tmp_path):
    pipe = tmp_path / "pipe.pth"
    os.mkfifo(pipe)
    for force in (False, True):
        with pytest.raises(TargetError, match=r"pipe\.pth: is neither a regular file nor a directory"):
            save_checkpoint(pipe, TREE, force=force)
    assert os.listdir(tmp_path) == ["pipe.pth"] and stat.S_ISFIFO(pipe.lstat().st_mode)


@pytest.mark.skipif(sys.platform == "darwin", reason="names of files are UTF-8 there")
@pytest.mark.parametrize("to", sorted(TARGETS))
def test_a_name_need_not_be_text(source, tmp_path, to):
    target = os.path.join(os.fsencode(tmp_path), b"\xff\xfe" + TARGETS[to].encode())
    convert(source, os.fsdecode(target), to=to)
    assert os.listdir(os.fsencode(tmp_path)) == [os.path.basename(target)]
    with open_checkpoint(os.fsdecode(target)) as ckpt:
        assert ckpt.tree["epoch"] == 3
        assert np.array_equal(ckpt.tree["model"]["w"].read(), TREE["model"]["w"])


@pytest.mark.parametrize("has_old", [False, True], ids=["new", "replaced"])
@pytest.mark.parametrize("mode", ["before", "after", "ENOSPC", "EIO"])
@pytest.mark.parametrize("to", sorted(TARGETS))
def test_stopped_at_any_file_operation(source, tmp_path, to, mode, has_old):
    target = tmp_path / "work" / TARGETS[to]
    command = [sys.executable, str(HERE / "crashing.py"), str(source), str(target), to, mode]
    if has_old:
        old = tmp_path / TARGETS[to]
        save_checkpoint(old, {"old": np.ones(5, np.int8)}, to=to)
        command += ["--old", str(old)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert json.loads(result.stdout)["tries"] >= 5


def test_killed_with_sharded_safetensors(source, tmp_path):
    save_checkpoint(tmp_path / "sharded", TREE, to="safetensors", options={"max_shard_size": 16})
    assert (tmp_path / "sharded" / "model.safetensors.index.json").is_file()
    with pytest.raises(TargetError, match="exists already"):
        save_checkpoint(tmp_path / "sharded", TREE, to="safetensors", options={"max_shard_size": 16})
    save_checkpoint(tmp_path / "sharded", {"x": np.ones(2)}, to="safetensors", force=True)
    with open_checkpoint(tmp_path / "sharded") as ckpt:
        assert list(ckpt.tree) == ["x"]


def test_an_existing_target_is_replaced_only_when_told(source, tmp_path):
    target = tmp_path / "a.safetensors"
    target.write_bytes(b"precious")
    with pytest.raises(TargetError, match=r"exists already\n.*--force"):
        convert(source, target)
    assert target.read_bytes() == b"precious"
    convert(source, target, force=True)
    assert target.read_bytes() != b"precious"


def test_a_directory_that_is_no_checkpoint_is_never_replaced(source, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    for to in ("orbax", "torch"):
        with pytest.raises(TargetError, match="is no checkpoint as a whole"):
            convert(source, home, to=to, force=True)
    assert (home / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    "stranger", ["notes.txt", "tb/events", ".git/HEAD", "5.orbax-checkpoint-tmp/_METADATA"]
)
def test_what_lies_in_a_checkpoint_and_is_no_part_of_it_is_never_removed(source, tmp_path, stranger):
    single = tmp_path / "single"
    convert(source, single, to="orbax")
    root = tmp_path / "root"
    with ocp.CheckpointManager(root) as manager:
        manager.save(3, args=ocp.args.StandardSave({"w": np.ones(2)}))
    sharded = tmp_path / "sharded"
    save_checkpoint(sharded, TREE, to="safetensors", options={"max_shard_size": 16})
    for target in (single, root, root / "3", root / "3" / "default", sharded):
        file = target / stranger
        file.parent.mkdir(exist_ok=True)
        file.write_text("years of work")
        name = stranger.partition("/")[0]
        with pytest.raises(
            TargetError, match=rf"is no part of the checkpoint, and is not replaced: .*{name}"
        ):
            convert(source, target, to="orbax", force=True)
        assert file.read_text() == "years of work"
        file.unlink()
        if file.parent != target:
            file.parent.rmdir()
    for target in (single, root, sharded):
        convert(source, target, to="orbax", force=True)
        with open_checkpoint(target) as ckpt:
            assert "model" in ckpt.tree


def test_a_target_around_its_source_is_refused(source, tmp_path):
    inside = tmp_path / "dir"
    convert(source, inside, to="orbax")
    for target in (tmp_path, inside / "new.pth"):
        with pytest.raises(UsageError, match="inside of the source, or around it"):
            convert(inside, target, to="torch", force=True)


def test_a_checkpoint_can_be_converted_in_place(source, tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(source.read_bytes())
    convert(path, path, to="torch", force=True)
    with open_checkpoint(path) as ckpt:
        assert ckpt.format == "torch"
        assert np.array_equal(ckpt.tree["model"]["w"].read(), TREE["model"]["w"])


def test_targets_that_cannot_be_written_are_named(source, tmp_path):
    with pytest.raises(TargetError, match="no such directory"):
        convert(source, tmp_path / "missing" / "a.pth")
    link = tmp_path / "loop.pth"
    link.symlink_to(link)
    with pytest.raises(TargetError, match="exists already"):
        convert(source, link)


def test_leftovers_of_others_and_of_running_writers_stay(tmp_path):
    target = tmp_path / "a.bin"
    strange = tmp_path / ".a.bin.notatoken.ckpt-tmp"
    strange.write_bytes(b"x")
    with Sink(target) as first:
        writer = first.file()
        writer.write(b"first")
        with Sink(tmp_path / "a.bin") as second, second.file() as other:
            other.write(b"second")
        assert target.read_bytes() == b"second"
        assert os.path.exists(writer.path)
        writer.close()
        first.force = True
    assert target.read_bytes() == b"first"
    assert sorted(os.listdir(tmp_path)) == [strange.name, "a.bin"]


def test_file_names_stay_inside_of_the_target(tmp_path):
    with pytest.raises(UnsafePathError), Sink(tmp_path / "a") as sink:
        sink.file("../escape")
    assert os.listdir(tmp_path) == []


def test_a_failing_writer_leaves_nothing(tmp_path):
    def fail() -> None:
        with Sink(tmp_path / "a") as sink:
            with sink.file("x/y") as file:
                file.write(b"1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert os.listdir(tmp_path) == []
