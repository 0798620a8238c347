from __future__ import annotations

import os
import tarfile
import zipfile

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint

LOOKALIKES = {
    "lfs.pth": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "Git LFS pointer"),
    "page.pth": (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "web page"),
    "empty.pth": (b"", "is empty"),
    "zeros.pt": (bytes(5000), "begins with zeros only"),
    "denied.bin": (b"Invalid username or password.", "is an error message that a server sent"),
    "keras.h5": (
        b"\x89HDF\r\n\x1a\n" + bytes(100),
        "is an HDF5 file (.h5, Keras), which no installed backend reads",
    ),
    "model.gguf": (b"GGUF\x03" + bytes(100), "is a GGUF file"),
    "model.pth.zst": (b"\x28\xb5\x2f\xfd" + bytes(100), "is compressed by zstd\n  Unpack it"),
    "text.bin": (b"hello, world. " * 10, "no installed format recognises it"),
}


@pytest.mark.parametrize("name", LOOKALIKES)
@pytest.mark.parametrize("command", ["inspect", "hash", "convert", "diff"])
def test_what_only_looks_like_a_checkpoint(run, files, tmp_path, name, command):
    content, text = LOOKALIKES[name]
    path = tmp_path / name
    path.write_bytes(content)
    more = {"convert": (tmp_path / "out.pth",), "diff": (files / "a.pth",)}.get(command, ())
    result = run(command, path, *more)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {path}: ")
    assert text in result.stderr
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.parametrize("other", ["pickle", "safetensors", "msgpack", "orbax", "equinox"])
def test_the_wrong_format_is_told_which_one_fits(run, files, other):
    error = run("inspect", files / "a.pth", "--format", other).stderr
    assert error.startswith(f"error: {files / 'a.pth'}: does not look like {other}, which looks for ")
    assert error.endswith("  It looks like torch: leave out format= (--format).\n")


def test_a_lookalike_is_told_whatever_the_format(run, tmp_path):
    content, text = LOOKALIKES["lfs.pth"]
    (tmp_path / "lfs.pth").write_bytes(content)
    assert text in run("inspect", tmp_path / "lfs.pth", "--format", "torch").stderr


def test_unknown_format_says_what_was_tried(run, tmp_path):
    (tmp_path / "x.bin").write_bytes(b"hello, world. " * 10)
    error = run("inspect", tmp_path / "x.bin").stderr
    for line in (
        "torch looks for ",
        "safetensors looks for ",
        "msgpack looks for ",
        "It begins with b'hello, world. he'",
    ):
        assert line in error


def test_a_half_download(run, files, tmp_path):
    whole = (files / "a.pth").read_bytes()
    (tmp_path / "half.pth").write_bytes(whole[: len(whole) // 2])
    result = run("inspect", tmp_path / "half.pth")
    assert result.exit_code == 2
    assert "truncated" in result.stderr or "half download" in result.stderr


@pytest.mark.parametrize("kind", ["w", "w:gz"])
def test_a_tar_archive(run, files, tmp_path, kind):
    with tarfile.open(tmp_path / "model.nemo", kind) as archive:
        archive.add(files / "a.pth", "./model_weights.ckpt")
    error = run("inspect", tmp_path / "model.nemo").stderr
    assert "is a tar archive that holds no checkpoint format\n  Unpack it" in error


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_distributed_checkpoint_of_torch(run, tmp_path):
    torch.distributed.checkpoint.save(
        {"w": torch.ones(3), "b": torch.ones(2)}, checkpoint_id=tmp_path / "dcp", no_dist=True
    )
    for path in (tmp_path / "dcp", tmp_path / "dcp" / "__0_0.distcp"):
        result = run("inspect", path)
        assert result.exit_code == 2
        assert (
            "distributed checkpoint of torch, which no backend reads\n  Merge it: python -m" in result.stderr
        )


def test_the_cache_of_a_hub(run, tmp_path):
    for name in ("blobs", "refs", "snapshots/abc"):
        (tmp_path / "models--a--b" / name).mkdir(parents=True)
    error = run("inspect", tmp_path / "models--a--b").stderr
    assert "is a hub's cache of a repository" in error
    assert "Name one of the directories in snapshots/." in error


def test_a_program_of_torch_export(run, tmp_path):
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),)), tmp_path / "a.pt2")
    assert "is a program of torch.export (.pt2)" in run("inspect", tmp_path / "a.pt2").stderr


def test_a_zipped_directory(run, tmp_path):
    with zipfile.ZipFile(tmp_path / "run.zip", "w") as archive:
        archive.writestr("run/checkpoint", "x")
    result = run("inspect", tmp_path / "run.zip")
    assert result.exit_code == 2
    assert "unzip it" in result.stderr


def test_an_npz_without_a_backend(run, tmp_path):
    np.savez(tmp_path / "a.npz", w=np.ones(3))
    assert "is a NumPy archive" in run("inspect", tmp_path / "a.npz").stderr


def test_no_such_file(run, tmp_path):
    for name in ("absent.pth", "x\0y", "n" * 5000, ""):
        result = run("inspect", tmp_path / name if name else "")
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        assert "Traceback" not in result.stderr


def test_a_fifo_does_not_block(run, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    result = run("inspect", tmp_path / "fifo")
    assert result.exit_code == 2
    assert "neither a regular file nor a directory" in result.stderr


def test_an_error_cannot_move_the_cursor(run, tmp_path):
    result = run("inspect", tmp_path / "\x1b[2J\u202e.pth")
    assert result.exit_code == 2
    assert all(character.isprintable() or character == "\n" for character in result.stderr)


def test_wrong_arguments(run, files):
    assert run("inspect").exit_code == 2
    assert run("inspect", files / "a.pth", "--absent").exit_code == 2
    assert run("absent").exit_code == 2
    for option, text in ((("--format", "foo"), "Known formats: "), (("--layout", "foo"), "Known layouts: ")):
        result = run("inspect", files / "a.pth", *option)
        assert result.exit_code == 2
        assert text in result.stderr


def test_a_corrupt_member_is_found_by_its_checksum(run, tmp_path):
    tensor = torch.arange(1000, dtype=torch.int64)
    torch.save({"w": tensor}, tmp_path / "w.pth")
    data = bytearray((tmp_path / "w.pth").read_bytes())
    data[data.index(tensor.numpy().tobytes()) + 100] ^= 1
    (tmp_path / "w.pth").write_bytes(data)
    for arguments in (("hash",), ("inspect", "--stats")):
        result = run(arguments[0], tmp_path / "w.pth", *arguments[1:])
        assert result.exit_code == 2
        assert "checksum mismatch" in result.stderr
        assert run(arguments[0], tmp_path / "w.pth", "--no-verify", *arguments[1:]).exit_code == 0
    assert run("convert", tmp_path / "w.pth", tmp_path / "v.safetensors").exit_code == 2
    assert not (tmp_path / "v.safetensors").exists()


def test_help_states_the_exit_codes(run):
    for command in ((), ("inspect",), ("convert",), ("diff",), ("hash",), ("backends",)):
        assert "Exit codes: " in run(*command, "--help").stdout
    assert run("--version").stdout.startswith("ckpt-core ")
