"""States of NNX as people save them with Orbax: alone, beside an optimizer, with and without their wrappers."""

from __future__ import annotations

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import torch
from flax import nnx
from layouts.trees import array, opened

from ckpt_core import open_checkpoint, restore, save_checkpoint
from ckpt_core.errors import MismatchError


class Net(nnx.Module):
    """A module with running statistics and a random stream."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.inner = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.bare = nnx.BatchNorm(4, use_bias=False, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.drop(self.bare(self.norm(self.inner(x))))


class Wrapper(nnx.Module):
    """A module whose only part has a name that stands for a whole model elsewhere."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.net = Net(rngs)

    def __call__(self, x):
        return self.net(x)


class Recurrent(nnx.Module):
    """A module that keeps its streams under the name that scripts use for them."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.cell = nnx.GRUCell(3, 4, rngs=rngs)
        self.rngs = rngs


def trained(kind, optax_rule=None):
    """A model and its optimizer after two steps."""
    model = kind(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax_rule or optax.adam(1e-2), wrt=nnx.Param)
    for _ in range(2):
        grads = nnx.grad(lambda m: jnp.square(m(jnp.linspace(-1, 1, 15).reshape(5, 3))).mean())(model)
        optimizer.update(model, grads)
    return model, optimizer


SAVED = {
    "both": lambda model, optimizer: {"model": model, "optimizer": optimizer},
    "net": lambda model, optimizer: {"net": model, "optimizer": optimizer},
    "alone": lambda model, _: model,
    "one key": lambda model, _: {"model": model},
}
STATISTICS = {"norm/mean", "norm/var", "bare/mean", "bare/var", "drop/rngs/count", "drop/rngs/key/data"}


def assert_same(one, other) -> None:
    """The learned weights and the running statistics; a stream goes on from where it is."""
    kinds = nnx.Any(nnx.Param, nnx.BatchStat, nnx.optimizer.OptState)
    pairs = zip(*(jax.tree.leaves(nnx.state(each, kinds)) for each in (one, other)), strict=True)
    assert all(np.array_equal(mine, theirs) for mine, theirs in pairs)


@pytest.mark.parametrize("pure", [False, True], ids=["state", "pure dict"])
@pytest.mark.parametrize("way", SAVED)
@pytest.mark.parametrize("kind", [Net, Wrapper])
def test_a_state_saved_by_orbax_fills_the_model(kind, way, pure, tmp_path):
    model, optimizer = trained(kind)
    states = [nnx.state(each) for each in (model, optimizer)]
    tree = SAVED[way](*(map(nnx.to_pure_dict, states) if pure else states))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "saved", tree)
    has_optimizer = "optimizer" in tree
    with open_checkpoint(tmp_path / "saved") as ckpt:
        assert {name.removeprefix("net/") for name, _ in ckpt.buffers.leaves()} == STATISTICS
        assert len(ckpt.params.leaves()) == 5
        assert list(ckpt.opt_states) == (["optimizer"] if has_optimizer else [])
        if has_optimizer:
            assert ckpt.opt_state.step == 2 and list(ckpt.opt_state.slots) == ["mu", "nu"]
    fresh, other = kind(nnx.Rngs(1)), None
    if has_optimizer:
        other = nnx.Optimizer(fresh, optax.adam(1e-2), wrt=nnx.Param)
    restore(tmp_path / "saved", fresh, other)
    assert_same(model, fresh)
    if has_optimizer:
        assert_same(optimizer, other)


@pytest.mark.parametrize("way", SAVED)
@pytest.mark.parametrize("kind", [Net, Wrapper])
def test_a_pickled_state_fills_the_model(kind, way, tmp_path):
    """Its variables are objects here, a typed random key among them; all is named as in an Orbax directory."""
    model, optimizer = trained(kind)
    tree = SAVED[way](nnx.state(model), nnx.state(optimizer))
    path = tmp_path / "saved.pkl"
    path.write_bytes(pickle.dumps(tree))
    with open_checkpoint(path) as ckpt:
        assert {name.removeprefix("net/") for name, _ in ckpt.buffers.leaves()} == STATISTICS
        assert {name.split("/")[-1] for name, _ in ckpt.params.leaves()} == {"kernel", "bias", "scale"}
        has_optimizer = list(ckpt.opt_states) == ["optimizer"]
        assert has_optimizer == ("optimizer" in tree)
        if has_optimizer:
            assert ckpt.opt_state.step == 2 and list(ckpt.opt_state.slots) == ["mu", "nu"]
            assert not ckpt.opt_state.other
    fresh = kind(nnx.Rngs(1))
    other = nnx.Optimizer(fresh, optax.adam(1e-2), wrt=nnx.Param) if has_optimizer else None
    restore(path, fresh, other)
    assert_same(model, fresh)
    if has_optimizer:
        assert_same(optimizer, other)


def test_a_pickled_split_is_the_state_beside_its_graph(tmp_path):
    model, _ = trained(Net)
    path = tmp_path / "split.pkl"
    path.write_bytes(pickle.dumps(nnx.split(model)))
    with open_checkpoint(path) as ckpt:
        assert ckpt.layout == "sequence"
        assert "inner/kernel" in ckpt.params and "norm/mean" in ckpt.buffers
    fresh = Net(nnx.Rngs(1))
    restore(path, fresh)
    assert_same(model, fresh)


@pytest.mark.parametrize("rule", [optax.adam(1e-2), optax.sgd(1e-2), optax.sgd(1e-2, momentum=0.9)])
@pytest.mark.parametrize("format", ["orbax", "msgpack", "torch"])
def test_what_is_saved_of_an_nnx_model_restores_into_one(rule, format, tmp_path):
    model, optimizer = trained(Wrapper, rule)
    save_checkpoint(tmp_path / "saved", model, optimizer, step=2, epoch=1, to=format)
    fresh = Wrapper(nnx.Rngs(1))
    other = nnx.Optimizer(fresh, rule, wrt=nnx.Param)
    receipt = restore(tmp_path / "saved", fresh, other)
    assert receipt.with_optimizer
    assert_same(model, fresh)
    assert_same(optimizer, other)
    assert other.step[...] == 2


def test_an_optimizer_without_state_does_not_take_one(tmp_path):
    params = {"w": jnp.ones(3)}
    save_checkpoint(tmp_path / "saved", params, optax.adam(0.1).init(params), step=2, to="orbax")
    with pytest.raises(MismatchError, match="optimizer: 3 arrays in the checkpoint, nothing in the model"):
        restore(tmp_path / "saved", params, optax.sgd(0.1).init(params))


def test_streams_beside_a_cell_are_part_of_the_module(tmp_path):
    model = Recurrent(nnx.Rngs(0))
    save_checkpoint(tmp_path / "saved.msgpack", model)
    with open_checkpoint(tmp_path / "saved.msgpack") as ckpt:
        assert ckpt.layout == "state_dict"
        assert all(name.startswith("cell/") for name, _ in ckpt.params.leaves())
        assert {name for name, _ in ckpt.buffers.leaves()} == {"rngs/default/count", "rngs/default/key/data"}
    fresh = Recurrent(nnx.Rngs(1))
    restore(tmp_path / "saved.msgpack", fresh)
    assert_same(model, fresh)


def test_statistics_are_told_by_what_stands_beside_them():
    norm = {name: array(4) for name in ("scale", "bias", "mean", "var")}
    prior = {"mean": array(4), "var": array(4)}
    other = {"scale": array(), "mean": array(4), "var": array(4)}
    count = {"count": array(dtype="int32"), "key": array(2, dtype="int32")}
    ckpt = opened({"norm": norm, "prior": prior, "other": other, "stream": count})
    assert [name for name, _ in ckpt.buffers.leaves()] == ["norm/mean", "norm/var"]


def test_a_nested_module_keeps_the_segment_of_its_wrapper():
    nested = opened({"module": {"conv": {"kernel": array(2)}, "head": {"kernel": array(3)}}})
    flat = opened({"module.conv.kernel": array(2), "module.head.kernel": array(3)})
    for ckpt in (nested, flat):
        assert [name for name, _ in ckpt.params.leaves()] == ["module/conv/kernel", "module/head/kernel"]
        assert ckpt.metadata.prefixes == flat.metadata.prefixes
    state = opened({"module": {"conv.weight": array(2)}, "global_steps": 3})
    assert [name for name, _ in state.params.leaves()] == ["conv/weight"]


def test_the_model_tells_whether_a_key_is_a_part_of_it(tmp_path):
    class Outer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(3, 2)

    save_checkpoint(tmp_path / "x.pth", {"net": {"weight": np.ones((2, 3), "f4"), "bias": np.ones(2, "f4")}})
    outer, inner = Outer(), torch.nn.Linear(3, 2)
    for model in (outer, inner):
        restore(tmp_path / "x.pth", model)
        assert all(bool((value == 1).all()) for value in model.state_dict().values())
