"""State dicts in which some tensors are no plain arrays: sparse, quantised, of a subclass, with attributes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from layouts.trees import array, opened
from torch import nn

from ckpt_core import convert, open_checkpoint, restore
from ckpt_core.errors import MismatchError
from ckpt_core.tree import Record


def with_attribute(tensor: torch.Tensor) -> torch.Tensor:
    tensor.note = {"frozen": True}  # type: ignore[attr-defined]
    return tensor


OTHERS = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "csr": lambda: torch.eye(3).to_sparse_csr(),
    "quantised": lambda: torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8),
    "attributes": lambda: with_attribute(torch.eye(3)),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch says of most of these that they are in beta
@pytest.mark.parametrize("kind", OTHERS)
def test_one_among_the_weights_hides_none_of_the_others(kind: str, tmp_path: Path) -> None:
    weights = {"emb.weight": OTHERS[kind](), "fc.weight": torch.ones(2, 3), "fc.bias": torch.ones(2)}
    for name, tree in {"a.pt": weights, "b.pt": {"net": weights, "epoch": 3}}.items():
        torch.save(tree, tmp_path / name)
        with open_checkpoint(tmp_path / name) as ckpt:
            assert {"fc/weight", "fc/bias"} < {path for path, _ in ckpt.params.leaves()}
            assert ckpt.metadata.extra == {}
        convert(tmp_path / name, tmp_path / "only.safetensors", only="weights", force=True)
        names = set(safetensors.torch.load_file(tmp_path / "only.safetensors"))
        assert {"fc.weight", "fc.bias"} < names
        convert(tmp_path / name, tmp_path / "only.pth", only="weights", force=True)
        assert set(torch.load(tmp_path / "only.pth", weights_only=True)) == names


def test_numpy_texts_beside_arrays_are_not_the_weights(tmp_path: Path) -> None:
    tree = {"w": torch.ones(2, 3), "b": torch.ones(2), "labels": np.array(["a", "bcd"])}
    torch.save(tree, tmp_path / "a.pt")
    with open_checkpoint(tmp_path / "a.pt") as ckpt:
        assert {"w", "b"} < {name for name, _ in ckpt.params.leaves()}


def test_packed_tensors_of_safetensors_are_entries() -> None:
    packed = Record("safetensors.F4", {"shape": [2, 4], "data": array(4, dtype="uint8")})
    ckpt = opened({"fc.weight": packed, "fc.bias": array(2), "norm.weight": array(2)})
    assert ckpt.layout == "state_dict"
    assert {"fc/bias", "norm/weight"} < {name for name, _ in ckpt.params.leaves()}


def test_a_tensor_under_a_key_of_its_own_is_no_model() -> None:
    ckpt = opened({"net": {"w": array(2, 3)}, "mask": array(3), "epoch": 2})
    assert [name for name, _ in ckpt.params.leaves()] == ["w"]


def trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_a_wrapped_moment_is_restored_as_a_tensor(tmp_path: Path) -> None:
    model, optimizer = trained()
    for entry in optimizer.state.values():
        with_attribute(entry["exp_avg"])
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "a.pt")
    fresh, other = trained()
    restore(tmp_path / "a.pt", fresh, other)
    for saved, filled in zip(model.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(other.state[filled]["exp_avg"], optimizer.state[saved]["exp_avg"])


def test_a_moment_that_is_no_array_is_not_put_in_as_a_dict(tmp_path: Path) -> None:
    model, optimizer = trained()
    for entry in optimizer.state.values():
        entry["exp_avg"] = entry["exp_avg"].to_sparse()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "a.pt")
    with pytest.raises(MismatchError, match=r"an object of torch\._utils\._rebuild_sparse_tensor"):
        restore(tmp_path / "a.pt", *trained())
