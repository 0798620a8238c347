"""Tensors in a plain pickle: each storage is a torch file of its own, and reads as the tensor it was."""

from __future__ import annotations

import pickle

import pytest
import torch

from ckpt_core import convert, open_checkpoint


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_a_storage_alone(tmp_path, protocol):
    for storage in (torch.arange(3.0).untyped_storage(), torch.arange(3.0).storage()):
        (tmp_path / "storage.pkl").write_bytes(pickle.dumps(storage, protocol=protocol))
        with open_checkpoint(tmp_path / "storage.pkl") as ckpt:
            assert (ckpt.format, ckpt.tree.read().tobytes()) == (
                "pickle",
                torch.arange(3.0).numpy().tobytes(),
            )


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_bytes_alone(tmp_path, protocol):
    for value in (b"few", bytes(300)):
        (tmp_path / "bytes.pkl").write_bytes(pickle.dumps(value, protocol=protocol))
        with open_checkpoint(tmp_path / "bytes.pkl") as ckpt:
            assert (ckpt.format, ckpt.tree) == ("pickle", value)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_state_dict_pickled_without_torch_save(tmp_path, protocol):
    tensor = torch.randn(30, 4)
    state = {
        "a.weight": tensor,
        "a.tied": tensor,
        "a.bias": torch.ones(4).bfloat16(),
        "n": torch.nn.Parameter(tensor),
    }
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": state, "epoch": 3}, protocol=protocol))
    with open_checkpoint(path) as ckpt:
        assert (ckpt.format, ckpt.epoch) == ("pickle", 3)
        assert ckpt.params["a/weight"].read().tobytes() == tensor.numpy().tobytes()
        assert ckpt.params["a/bias"].dtype == "bfloat16"
    convert(path, tmp_path / "a.pth")
    assert torch.equal(torch.load(tmp_path / "a.pth", weights_only=True)["model"]["a.weight"], tensor)
