"""Live objects of any framework become trees whose arrays share the same memory."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax.training.train_state import TrainState

from ckpt_core import open_checkpoint, save_checkpoint
from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UnsupportedError
from ckpt_core.live import tree_of
from ckpt_core.tree import Alias, Global, Record


def test_torch_tensors_of_every_dtype_and_their_ties(tmp_path):
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 3, bias=False)
    )
    model[2].weight = model[0].weight
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    tree = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "half": torch.ones(2).bfloat16(),
    }
    save_checkpoint(tmp_path / "a.pth", tree)
    loaded = torch.load(tmp_path / "a.pth", weights_only=True)
    assert loaded["half"].dtype == torch.bfloat16
    assert loaded["model"]["0.weight"].data_ptr() == loaded["model"]["2.weight"].data_ptr()
    other = torch.nn.Sequential(
        torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 3, bias=False)
    )
    other.load_state_dict(loaded["model"])
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    )
    other[2].weight = other[0].weight
    torch.optim.AdamW(other.parameters()).load_state_dict(loaded["optimizer"])
    assert loaded["model"]._metadata == model.state_dict()._metadata


def test_a_flax_train_state(tmp_path):
    params = {"Dense_0": {"kernel": jnp.ones((2, 3), jnp.bfloat16), "bias": jnp.zeros(3)}}
    state = TrainState.create(apply_fn=None, params=params, tx=optax.adam(1e-3))
    for name, to in (("a.msgpack", None), ("a", "orbax"), ("a.safetensors", None)):
        save_checkpoint(tmp_path / name, state, to=to)
        with open_checkpoint(tmp_path / name) as ckpt:
            assert ckpt.layout == "train_state"
            assert ckpt.step == 0
            assert ckpt.params["Dense_0/kernel"].dtype == "bfloat16"
            assert ckpt.opt_state.step == 0


def test_containers_and_values_stay_what_they_are():
    shared = [1]
    tree = tree_of({"a": shared, "b": shared, "c": (np.float32(1), None), "d": OrderedDict(x=1)})
    assert tree["b"] == Alias(("a",))
    assert tree["c"] == (np.float32(1), None)
    assert type(tree["d"]) is dict


def test_memory_is_shared_and_ties_are_seen():
    values = np.zeros((2, 3))
    tree = tree_of({"a": values, "b": values[:], "c": values.copy(), "d": jax.numpy.ones(2)})
    assert tree["a"].identity == tree["b"].identity != tree["c"].identity
    values[0, 0] = 5
    assert tree["a"][0, 0] == 5
    assert isinstance(tree["d"], LazyArray)


def test_what_has_no_neutral_form_is_named():
    with pytest.raises(UnsupportedError, match=r"model/\[0\]: numpy dtype object"):
        tree_of({"model": [np.array([None])]})
    with pytest.raises(UnsupportedError, match=r"w: a tensor on the meta device has no values"):
        tree_of({"w": torch.empty(2, device="meta")})
    with pytest.raises(UnsupportedError, match=r"w: a masked array is no plain array\n.*its mask"):
        tree_of({"w": np.ma.array([1.0, 2.0], mask=[True, False])})
    assert isinstance(tree_of(Record("a.B", {"x": 1})), Record)


@pytest.mark.parametrize(
    "value",
    [torch.nn.Linear(2, 2), torch.optim.SGD([torch.ones(1)]), np.random.default_rng(0), object(), iter([1])],
    ids=lambda value: type(value).__name__,
)
def test_an_object_is_never_written_as_its_text(value, tmp_path):
    with pytest.raises(
        UnsupportedError, match=r"run/\[0\]: a .* is neither an array nor a plain value\n.*state"
    ):
        save_checkpoint(tmp_path / "a.pth", {"run": [value], "w": np.ones(2)})
    assert not list(tmp_path.iterdir())


class _Kind(enum.Enum):
    FINE = "fine"


class _Level(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize("to", ["torch", "pickle", "safetensors", "msgpack", "orbax"])
def test_values_of_many_kinds_are_written_as_their_pickles_read(to, tmp_path):
    tree = {
        "enum": _Kind.FINE,
        "level": _Level.HIGH,
        "dtype": torch.float16,
        "device": torch.device("cuda:1"),
        "numpy": np.dtype("float32"),
        "function": math.sqrt,
        "class": OrderedDict,
        "text": np.str_("a"),
        "bytes": bytearray(b"ab"),
        "date": np.datetime64("2020-01-02"),
        "key": jax.random.key(3),
        "nothing": float("nan"),
    }
    written = save_checkpoint(tmp_path / "a", tree, to=to)
    assert written.losses == ()
    with open_checkpoint(tmp_path / "a") as ckpt:
        found = ckpt.tree
        assert np.array_equal(found["key"].pop("data").read(), jax.random.key_data(tree["key"]))
        assert math.isnan(found.pop("nothing"))
        assert found == {
            "enum": Record(f"{__name__}._Kind", args=("fine",)),
            "level": Record(f"{__name__}._Level", args=(3,)),
            "dtype": Global("torch.float16"),
            "device": Record("torch.device", args=("cuda:1",)),
            "numpy": Record("numpy.dtype", args=("<f4",)),
            "function": Global("math.sqrt"),
            "class": Global("collections.OrderedDict"),
            "text": "a",
            "bytes": b"ab",
            "date": np.datetime64("2020-01-02"),
            "key": Record("jax.random.key", {"impl": str(jax.random.key_impl(jax.random.key(3)))}),
        }
