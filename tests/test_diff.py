"""What is compared, and what counts as equal."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from ckpt_core import convert, diff
from ckpt_core.comparison import Diff


def compared(folder: Any, a: Any, b: Any) -> Diff:
    for name, tree in (("a", a), ("b", b)):
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(tree))
    return diff(folder / "a.pkl", folder / "b.pkl")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        (complex(0, 1), complex(-0.0, 1)),
        ("1", 1),
        ("a", b"a"),
        (None, 0),
        (np.float32(1), 1),
        ({1}, {1, 2}),
        (np.zeros(2, np.float32), np.negative(np.zeros(2, np.float32))),
        (np.zeros(2, np.float32), np.zeros(2, np.int32)),
        (np.zeros((2, 1)), np.zeros((1, 2))),
    ],
)
def test_values_that_are_not_the_same(tmp_path, a, b):
    assert not compared(tmp_path, {"x": a}, {"x": b}).is_equal


@pytest.mark.parametrize(
    "value",
    [float("nan"), complex(-0.0, float("nan")), 1.5, -0.0, np.float32(2), [1, (2, None)], {1: 2}, "é"],
)
def test_values_that_are(tmp_path, value):
    assert compared(tmp_path, {"x": value}, {"x": value}).is_equal


def test_objects_of_different_classes(tmp_path):
    for name, layer in (("a", torch.nn.ReLU()), ("b", torch.nn.ReLU6()), ("c", torch.nn.SiLU())):
        torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2), layer), tmp_path / f"{name}.pth")
        weights = torch.nn.Linear(2, 2).state_dict()
    for name in "abc":
        module = torch.load(tmp_path / f"{name}.pth", weights_only=False)
        module[0].load_state_dict(weights)
        torch.save(module, tmp_path / f"{name}.pth")
    found = diff(tmp_path / "a.pth", tmp_path / "c.pth")
    assert [(d.kind, d.a, d.b) for d in found.differences] == [
        ("class", "torch.nn.modules.activation.ReLU", "torch.nn.modules.activation.SiLU")
    ]
    assert not found.is_equal
    assert str(found.differences[0]).startswith("class torch.nn.modules.activation.ReLU against ")
    assert diff(tmp_path / "a.pth", tmp_path / "c.pth", weights_only=True).is_equal
    convert(tmp_path / "a.pth", tmp_path / "a.msgpack")
    assert diff(tmp_path / "a.pth", tmp_path / "a.msgpack").is_equal


def test_every_one_of_several_optimizers(tmp_path):
    def run(rate: float, more: dict[str, Any]) -> dict[str, Any]:
        nets = [torch.nn.Linear(2, 2) for _ in range(2)]
        for net in nets:
            torch.nn.init.ones_(net.weight), torch.nn.init.zeros_(net.bias)
        states = [
            torch.optim.SGD(net.parameters(), lr=lr).state_dict()
            for net, lr in zip(nets, (rate, 0.5), strict=True)
        ]
        weights = [{name: value.numpy() for name, value in net.state_dict().items()} for net in nets]
        return {
            "generator": weights[0], "discriminator": weights[1], "optimizer_g": states[0], "optimizer_d": states[1], **more
        }  # fmt: skip

    found = compared(tmp_path, run(0.1, {}), run(0.2, {"epoch": 3}))
    assert sorted((d.kind, d.path) for d in found.differences) == [
        ("only_b", "epoch"),
        ("value", "opt_states/optimizer_g/param_groups/0/lr"),
    ]


def test_keys_that_read_alike(tmp_path):
    weights = {"w": np.zeros(2, np.float32)}
    a = {"model": weights, "config": {1: "x", "1": "y", "a/b": 1, "a": {"b": 2}}}
    b = {"model": weights, "config": {1: "z", "1": "y", "a/b": 3, "a": {"b": 2}}, "epoch": 1}
    found = compared(tmp_path, a, b)
    assert [(d.kind, d.a, d.b) for d in found.differences if d.path != "epoch"] == [
        ("value", "x", "z"),
        ("value", 1, 3),
    ]
