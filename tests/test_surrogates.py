"""Texts that are no valid Unicode: pickles hold them, and the other formats carry them in their metadata."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from ckpt_core import convert, open_checkpoint
from tests.trees import same

KEY = "\ud800k"
NAMES = {
    "torch": "a.pth",
    "pickle": "a.pkl",
    "safetensors": "a.safetensors",
    "msgpack": "a.msgpack",
    "orbax": "a_orbax",
}


@pytest.mark.parametrize("to", NAMES)
def test_they_come_back(tmp_path: Path, to: str) -> None:
    shared = [1, "\udfff"]
    tree = {
        KEY: np.arange(3, dtype=np.int16),
        "in": {KEY: {"w": np.ones(2)}, "list": shared},
        "again": shared,
        "v": "x\udcff",
    }
    source, target = tmp_path / "source.pkl", tmp_path / NAMES[to]
    source.write_bytes(pickle.dumps(tree))
    receipt = convert(source, target)
    assert not receipt.losses
    if to in ("safetensors", "msgpack", "orbax"):
        assert any("no valid Unicode" in str(remark) for remark in receipt.carried)
    with open_checkpoint(source) as before, open_checkpoint(target) as after:
        assert same(before.tree, after.tree)


def test_official_loaders_see_the_escaped_name(tmp_path: Path) -> None:
    (tmp_path / "source.pkl").write_bytes(pickle.dumps({KEY: np.ones(2), r"\ud800k": np.zeros(2)}))
    convert(tmp_path / "source.pkl", tmp_path / "a.safetensors")
    assert load_file(tmp_path / "a.safetensors")[r"\ud800k"].tolist() == [1, 1]
    with open_checkpoint(tmp_path / "a.safetensors") as ckpt:
        assert ckpt.tree[KEY].read().tolist() == [1, 1]
        assert ckpt.tree[r"\ud800k"].read().tolist() == [0, 0]
