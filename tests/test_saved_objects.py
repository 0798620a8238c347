"""Configs that were saved as objects of the classes that projects use for them, read as plain data."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import enum
import pickle
import random
import sys
import types
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import pydantic
import pytest
import torch
from omegaconf import OmegaConf

from ckpt_core import open_checkpoint
from ckpt_core.arrays import LazyArray


class AttributeDict(dict[str, Any]):
    """Keeps each entry as an attribute, too, as EasyDict and Munch do."""

    def __init__(self, entries: dict[str, Any] | None = None) -> None:
        for key, value in (entries or {}).items():
            self[key] = AttributeDict(value) if type(value) is dict else value
            setattr(self, key, self[key])


class Node(dict[str, Any]):
    """Keeps settings of its own beside its entries, as yacs' CfgNode does."""

    def __init__(self, entries: dict[str, Any]) -> None:
        super().__init__({k: Node(v) if type(v) is dict else v for k, v in entries.items()})
        self.__dict__["__immutable__"] = True


class Model(pydantic.BaseModel):
    width: int = 8
    inner: dict[str, float] = {"lr": 0.1}


class Loose(Model, extra="allow"):
    pass


class Kind(enum.Enum):
    small = "s"


@dataclasses.dataclass
class Data:
    kind: Kind = Kind.small
    device: torch.device = torch.device("cuda", 1)  # noqa: RUF009  # it cannot be changed
    cpu: torch.device = torch.device("cpu")  # noqa: RUF009


PLAIN = {"lr": 0.1, "model": {"width": 8, "dims": [1, 2], "none": None}, "empty": {}}


def with_reference() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict({"lr": 0.1})
    config.again = config.get_ref("lr")
    config.later = ml_collections.config_dict.placeholder(int)
    return config


CONFIGS: dict[str, tuple[Any, Any]] = {
    "attributes beside entries": (AttributeDict(PLAIN), PLAIN),
    "settings beside entries": (Node(PLAIN), PLAIN),
    "ml_collections": (ml_collections.ConfigDict(PLAIN), PLAIN),
    "ml_collections, frozen": (ml_collections.FrozenConfigDict({"a": {"b": (1, 2)}}), {"a": {"b": (1, 2)}}),
    "ml_collections, references": (with_reference(), {"lr": 0.1, "again": 0.1, "later": None}),
    "omegaconf": (OmegaConf.create(PLAIN), PLAIN),
    "omegaconf within": (
        {"model": OmegaConf.create(PLAIN), "l": OmegaConf.create([1])},
        {"model": PLAIN, "l": [1]},
    ),
    "pydantic": (Model(), {"width": 8, "inner": {"lr": 0.1}}),
    "pydantic, more fields": (Loose(more=[1]), {"width": 8, "inner": {"lr": 0.1}, "more": [1]}),
    "defaultdict": (collections.defaultdict(dict, PLAIN), PLAIN),
    "defaultdict, empty": ({"a": collections.defaultdict(list), "b": 1}, {"a": {}, "b": 1}),
    "UserDict": (collections.UserDict(PLAIN), PLAIN),
    "deque": ({"last": collections.deque([1, 2], maxlen=3)}, {"last": [1, 2]}),
    "dataclass": (Data(), {"kind": "s", "device": "cuda:1", "cpu": "cpu"}),
}


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_of_objects_is_plain_data(tmp_path: Path, name: str, protocol: int) -> None:
    config, expected = CONFIGS[name]
    state = {"params": {"w": np.ones(2)}, "config": config}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(state, protocol))
    with open_checkpoint(tmp_path / "a.pkl") as ckpt:
        assert ckpt.config == expected
        assert [type(value) for value in ckpt.config.values()] == [type(value) for value in expected.values()]


def test_a_reference_that_computes_is_no_value(tmp_path: Path) -> None:
    config = ml_collections.ConfigDict({"lr": 0.1})
    config.double = config.get_ref("lr") * 2
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"params": {"w": np.ones(2)}, "config": config}))
    with open_checkpoint(tmp_path / "a.pkl") as ckpt:
        assert ckpt.config["lr"] == 0.1
        assert ckpt.config["double"] not in (0.1, 0.2)


def test_arrays_of_dill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dill saves an array as a call of its own (`dill/_dill.py::save_numpy_array`)."""
    module = types.ModuleType("dill._dill")
    exec("def _create_array(f, args, state, npdict=None): ...", module.__dict__)
    module.__dict__["_create_array"].__module__ = "dill._dill"
    package = types.ModuleType("dill")
    package.__dict__["_dill"] = module
    monkeypatch.setitem(sys.modules, "dill", package)
    monkeypatch.setitem(sys.modules, "dill._dill", module)

    class Dilled:
        def __init__(self, array: np.ndarray, attributes: dict[str, Any] | None = None) -> None:
            self.array, self.attributes = array, attributes

        def __reduce__(self) -> Any:
            function, args, state = self.array.__reduce__()
            return module.__dict__["_create_array"], (function, args, state, self.attributes)

    values = np.arange(600, dtype=np.float32).reshape(2, 300)
    tree = {
        "plain": Dilled(values),
        "fortran": Dilled(np.asfortranarray(values)),
        "own": Dilled(values, {"x": 1}),
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(tree))
    with open_checkpoint(tmp_path / "a.pkl") as ckpt:
        for name in ("plain", "fortran"):
            assert np.array_equal(ckpt.tree[name].read(), values)
        assert not isinstance(ckpt.tree["own"], LazyArray), "attributes of a class are not dropped"


def test_small_arrays_among_the_settings_are_settings(tmp_path: Path) -> None:
    settings = {
        "lr": 0.1,
        "mean": np.array([0.25, 0.5]),
        "weights": torch.ones(2, dtype=torch.bfloat16),
        "anchors": [np.ones((1, 2), np.int32)],
    }
    plain = {"lr": 0.1, "mean": [0.25, 0.5], "weights": [1.0, 1.0], "anchors": [[[1, 1]]]}
    for key, value in {"config": settings, "args": argparse.Namespace(**settings)}.items():
        torch.save({"model": {"w": torch.ones(2, 2)}, key: value, "epoch": 1}, tmp_path / "a.pt")
        with open_checkpoint(tmp_path / "a.pt") as ckpt:
            assert ckpt.config == plain
            assert ckpt.metadata.notes == ()
            assert [name for name, _ in ckpt.params.leaves()] == ["w"]


def test_a_large_array_is_no_setting(tmp_path: Path) -> None:
    table = {"lr": 0.1, "table": np.zeros(5000)}
    torch.save({"model": {"w": torch.ones(2, 2)}, "config": table}, tmp_path / "a.pt")
    with open_checkpoint(tmp_path / "a.pt") as ckpt:
        assert ckpt.config == {}
        assert "config" in ckpt.metadata.extra


def test_objects_of_random_generators_are_states_of_them(tmp_path: Path) -> None:
    generators = {
        "sampler": np.random.default_rng(1),
        "old": np.random.RandomState(1),
        "bits": np.random.MT19937(2),
        "python": random.Random(3),
    }
    torch.save({"net": {"w": torch.ones(2, 2)}, "epoch": 1, **generators}, tmp_path / "a.pt")
    with open_checkpoint(tmp_path / "a.pt") as ckpt:
        assert set(ckpt.rng) == set(generators)
        assert [name for name, _ in ckpt.params.leaves()] == ["w"]


class FlatMapping(dict[str, Any]):
    """What Haiku made of parameters until 2021: a mapping that is pickled as a call on a dict."""

    def __reduce__(self) -> tuple[Any, ...]:
        return FlatMapping, (dict(self),)


def test_immutable_mappings_of_haiku(tmp_path: Path) -> None:
    linear = FlatMapping({"w": np.ones((2, 3), np.float32), "b": np.zeros(3, np.float32)})
    text = pickle.dumps(FlatMapping({"net/~/linear": linear}), protocol=2)
    here = f"c{__name__}\nFlatMapping\n".encode()
    assert here in text
    for name in ("FlatMapping", "FlatMap", "frozendict"):
        (tmp_path / "a.pkl").write_bytes(
            text.replace(here, f"chaiku._src.data_structures\n{name}\n".encode())
        )
        with open_checkpoint(tmp_path / "a.pkl") as ckpt:
            assert ckpt.layout == "haiku"
            assert [name for name, _ in ckpt.params.leaves()] == ["net/~/linear/w", "net/~/linear/b"]
