"""Which arrays of a checkpoint are one."""

from __future__ import annotations

from pathlib import Path

import torch

from ckpt_core import open_checkpoint
from ckpt_core.arrays import LazyArray
from ckpt_core.schema.ties import ties_of
from ckpt_core.tree import Alias, Index

ARRAY = LazyArray.from_numpy(torch.ones(2).numpy())


class Shared(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 3))
        self.decoder = self.encoder[1]
        self.head = torch.nn.Linear(3, 3, bias=False)
        self.head.weight = self.encoder[1].weight


def test_modules_and_parameters_that_stand_in_several_places(tmp_path: Path) -> None:
    torch.save(Shared(), tmp_path / "module.pth")
    torch.save(Shared().state_dict(), tmp_path / "state.pth")
    expected = {
        frozenset({"encoder/1/weight", "decoder/weight", "head/weight"}),
        frozenset({"encoder/1/bias", "decoder/bias"}),
    }
    for name in ("module.pth", "state.pth"):
        with open_checkpoint(tmp_path / name) as ckpt:
            groups = [
                [path.replace("_modules/", "").replace("_parameters/", "") for path in g] for g in ckpt.ties
            ]
            assert {frozenset(path.replace(".", "/") for path in group) for group in groups} == expected


def test_a_container_that_holds_itself_ties_nothing() -> None:
    tree = {
        "w": ARRAY,
        "me": Alias(()),
        "list": [Alias(("list",)), {"config": Alias(("empty",))}],
        "empty": {"a": 1},
    }
    assert ties_of(tree) == []


def test_containers_within_containers() -> None:
    tree = {"a": {"x": ARRAY, "y": {"z": ARRAY}}, "b": Alias(("a", "y")), "c": [Alias(("a",))]}
    assert [set(group) for group in ties_of(tree)] == [
        {("a", "x"), ("a", "y", "z"), ("b", "z"), ("c", Index(0), "x"), ("c", Index(0), "y", "z")}
    ]
