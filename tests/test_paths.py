"""Where relative paths are looked for, in every call and command alike."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ckpt_core import convert, diff, open_checkpoint, paths, save_checkpoint
from ckpt_core.errors import CheckpointNotFoundError


@pytest.fixture
def tree() -> dict[str, np.ndarray]:
    return {"w": np.arange(6, dtype=np.float32)}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; returns the folder beside it that $CKPT_ROOT names."""
    (tmp_path / "cwd").mkdir()
    (tmp_path / "root").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("CKPT_ROOT", str(tmp_path / "root"))
    return tmp_path / "root"


def test_the_working_directory_comes_first(elsewhere: Path, tree) -> None:
    save_checkpoint(elsewhere / "a.pth", tree)
    with open_checkpoint("a.pth") as ckpt:
        assert ckpt.path == str(elsewhere / "a.pth")
    save_checkpoint("a.pth", {"w": tree["w"] + 1})
    with open_checkpoint("a.pth") as ckpt:
        assert ckpt.path == str(Path("a.pth").absolute())
        assert ckpt.params["w"][0] == 1


def test_every_call_and_command_finds_the_same(elsewhere: Path, tree) -> None:
    save_checkpoint(elsewhere / "a.pth", tree)
    assert diff("a.pth", elsewhere / "a.pth").is_equal
    convert("a.pth", "b.safetensors")
    assert Path("b.safetensors").exists(), "what is written goes to the working directory"
    done = subprocess.run(
        [sys.executable, "-m", "ckpt_core.cli", "inspect", "a.pth"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"{elsewhere / 'a.pth'}\n")


def test_several_roots_in_their_order(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CKPT_ROOT", f"{tmp_path / 'one'}:{tmp_path / 'two'}")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "x.bin").write_bytes(b"x")
    assert paths.found("x.bin") == str(tmp_path / "two" / "x.bin")


def test_a_missing_file_says_where_it_was_looked_for(elsewhere: Path, monkeypatch) -> None:
    with pytest.raises(CheckpointNotFoundError, match="no such file") as caught:
        open_checkpoint("none.pth")
    text = str(caught.value)
    assert str(Path("none.pth").absolute()) in text
    assert str(elsewhere / "none.pth") in text
    monkeypatch.delenv("CKPT_ROOT")
    with pytest.raises(CheckpointNotFoundError, match=r"Directories in \$CKPT_ROOT are looked in"):
        open_checkpoint("none.pth")
    with pytest.raises(CheckpointNotFoundError) as caught:
        open_checkpoint("/no/where.pth")
    assert str(caught.value) == "/no/where.pth: no such file or directory\n  Looked at /no/where.pth."


def test_a_missing_file_is_told_by_what_it_is(elsewhere: Path, tree) -> None:
    save_checkpoint("epoch_10.pth", tree)
    beside = Path("epoch_10.pth").absolute()
    with pytest.raises(CheckpointNotFoundError, match=rf"no such file.*\n.*Did you mean {beside}\?"):
        open_checkpoint("epoch_1.pth")
    Path("latest.pth").symlink_to("epoch_9.pth")
    with pytest.raises(CheckpointNotFoundError, match=r"latest.pth: is a link to nothing\n.*epoch_9.pth"):
        open_checkpoint("latest.pth")
    with pytest.raises(
        CheckpointNotFoundError, match=r"is an address, not the path of a file\n  Download it"
    ):
        open_checkpoint("https://models.org/epoch_10.pth")


def test_kaggle_by_its_own_variables(tmp_path: Path, monkeypatch, tree) -> None:
    (tmp_path / "input" / "digits-run").mkdir(parents=True)
    (tmp_path / "working").mkdir()
    save_checkpoint(tmp_path / "input" / "digits-run" / "kaggle_model.pth", tree)
    monkeypatch.setattr(paths, "KAGGLE", tmp_path)
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    monkeypatch.delenv("KAGGLE_URL_BASE", raising=False)
    assert paths.search("kaggle_model.pth")[0] is None, "not on Kaggle"
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    expected = tmp_path / "input" / "digits-run" / "kaggle_model.pth"
    with open_checkpoint("kaggle_model.pth") as ckpt:
        assert ckpt.path == str(expected)
    assert paths.found("digits-run/kaggle_model.pth") == str(expected)
    save_checkpoint(tmp_path / "working" / "kaggle_model.pth", tree)
    assert paths.found("kaggle_model.pth") == str(tmp_path / "working" / "kaggle_model.pth")


def test_an_empty_path_is_not_the_working_directory():
    with pytest.raises(CheckpointNotFoundError, match="an empty path names no checkpoint"):
        open_checkpoint("")


def test_standard_input_is_no_path(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        CheckpointNotFoundError, match=r"standard input is no checkpoint.*\n  Save it to a file"
    ):
        open_checkpoint("-")
    save_checkpoint("-", {"w": np.ones(2, np.float32)}, to="torch")
    assert open_checkpoint("-").path == str(tmp_path / "-")
