"""The flag of a training script: the command line, the config, nothing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpt_core import add_transfer_arguments, save_checkpoint
from ckpt_core.errors import CheckpointNotFoundError

LIKE = {"w": np.zeros(3, np.float32)}


def apply(words: list[str], said: list[str], **options: Any) -> np.ndarray:
    parser = argparse.ArgumentParser()
    pretrained = add_transfer_arguments(parser, key="train.init_from")
    return pretrained.apply(parser.parse_args(words), LIKE, say=said.append, **options).load()["w"]


def test_the_flag_comes_before_the_config_and_none_leaves_everything(tmp_path: Path) -> None:
    for i in (1, 2):
        save_checkpoint(tmp_path / f"{i}.msgpack", {"w": np.full(3, i, np.float32)})
    config = {"train": {"init_from": str(tmp_path / "2.msgpack")}}
    said: list[str] = []
    assert apply(["--pretrained-ckpt", str(tmp_path / "1.msgpack")], said, config=config)[0] == 1
    assert apply([], said, config=config)[0] == 2
    assert apply(["--pretrained_ckpt", ""], said, config=config)[0] == 0
    assert apply([], said)[0] == 0
    assert apply([], said, config={"train": None})[0] == 0
    assert said[0] == "Transferred 3 parameters into the model (1 leaf)"
    assert said[2:] == ["no --pretrained_ckpt: every weight keeps its initial value"] * 3


def test_what_was_asked_for_must_be_there_unless_it_is_optional(tmp_path: Path) -> None:
    words = ["--pretrained_ckpt", str(tmp_path / "none.pkl")]
    with pytest.raises(CheckpointNotFoundError):
        apply(words, [])
    with pytest.warns(UserWarning, match="keeps its initial value"):
        assert apply(words, [], optional=True)[0] == 0
