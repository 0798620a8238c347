"""save_checkpoint with live objects: what it writes resumes with the framework's own functions."""

from __future__ import annotations

import argparse
import dataclasses
import random
from pathlib import Path

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import safetensors.torch
import torch
from flax import nnx
from flax.training.train_state import TrainState

from ckpt_core import open_checkpoint, save_checkpoint
from ckpt_core.errors import UsageError
from ckpt_core.schema.plainly import as_plain


def trained() -> tuple[torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    step(model, optimizer, scheduler)
    return model, optimizer, scheduler


def step(model, optimizer, scheduler) -> None:
    optimizer.zero_grad()
    model(torch.randn(4, 6)).square().sum().backward()
    optimizer.step()
    scheduler.step()


@dataclasses.dataclass
class Config:
    lr: float = 1e-2
    folder: Path = Path("/data")
    sizes: tuple[int, ...] = (5, 2)
    init: object = np.float32(0.5)


def test_torch_resumes_by_hand(tmp_path) -> None:
    model, optimizer, scheduler = trained()
    save_checkpoint(
        tmp_path / "a.pth", model, optimizer, step=1, epoch=3, metrics={"val_loss": torch.tensor(0.25), "n": 7},
        config=argparse.Namespace(lr=1e-2, when=Path("x")), scheduler=scheduler.state_dict(),
        rng={"torch": torch.get_rng_state(), "python": random.getstate()}, extra={"note": "first"},
    )  # fmt: skip
    saved = torch.load(tmp_path / "a.pth", weights_only=True)
    assert list(saved) == [
        "epoch", "step", "model_state_dict", "optimizer_state_dict", "scheduler_state_dict", "metrics", "config", "rng",
        "note", "timestamp",
    ]  # fmt: skip
    assert saved["config"] == {"lr": 1e-2, "when": "x"}
    other, other_optimizer, other_scheduler = trained()
    other.load_state_dict(saved["model_state_dict"])
    other_optimizer.load_state_dict(saved["optimizer_state_dict"])
    other_scheduler.load_state_dict(saved["scheduler_state_dict"])
    torch.set_rng_state(saved["rng"]["torch"])
    step(other, other_optimizer, other_scheduler)
    torch.set_rng_state(saved["rng"]["torch"])
    step(model, optimizer, scheduler)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_what_torch_saves_reads_back_into_the_same_fields(tmp_path) -> None:
    model, optimizer, scheduler = trained()
    save_checkpoint(
        tmp_path / "a.pth", model, optimizer, step=1, epoch=3, metrics={"val_loss": 0.25, "sub": {"acc": 0.5}},
        config=Config(), scheduler=scheduler.state_dict(), rng={"torch": torch.get_rng_state()},
    )  # fmt: skip
    with open_checkpoint(tmp_path / "a.pth") as ckpt:
        assert ckpt.layout == "training_dict"
        assert (ckpt.step, ckpt.epoch, ckpt.metrics) == (1, 3, {"val_loss": 0.25, "sub": {"acc": 0.5}})
        assert ckpt.config == {"lr": 1e-2, "folder": "/data", "sizes": (5, 2), "init": 0.5}
        assert ckpt.opt_state.kind == ("adamw",)
        assert list(ckpt.schedulers) == ["scheduler_state_dict"] and list(ckpt.rng) == ["rng"]
        assert set(ckpt.buffers["1"]) == {"running_mean", "running_var", "num_batches_tracked"}
        assert ckpt.metadata.extra == {}
        assert isinstance(ckpt.timestamp, float)


def test_a_model_alone_is_its_bare_weights(tmp_path) -> None:
    model, _, _ = trained()
    save_checkpoint(tmp_path / "a.safetensors", model)
    loaded = safetensors.torch.load_file(tmp_path / "a.safetensors")
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())
    save_checkpoint(tmp_path / "a.pth", model)
    model.load_state_dict(torch.load(tmp_path / "a.pth", weights_only=True))


def test_ties_stay_tied(tmp_path) -> None:
    model = torch.nn.Module()
    model.embed, model.head = torch.nn.Embedding(7, 3), torch.nn.Linear(3, 7, bias=False)
    model.head.weight = model.embed.weight
    save_checkpoint(tmp_path / "a.pth", model, epoch=1)
    state = torch.load(tmp_path / "a.pth", weights_only=True)["model_state_dict"]
    assert state["embed.weight"].data_ptr() == state["head.weight"].data_ptr()


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=True)(nn.Dense(5)(x))
        return nn.Dense(2)(x)


def train_state() -> tuple[TrainState, dict]:
    net = Net()
    variables = net.init(jax.random.key(0), jnp.ones((4, 6)))
    state = TrainState.create(apply_fn=net.apply, params=variables["params"], tx=optax.adamw(1e-2))
    grads = jax.tree.map(jnp.ones_like, state.params)
    return state.apply_gradients(grads=grads), variables


def same(a, b) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: bool((np.asarray(x) == np.asarray(y)).all()), a, b))


def test_a_train_state_is_restored_by_orbax(tmp_path) -> None:
    state, _ = train_state()
    save_checkpoint(tmp_path / "a.orbax", state, epoch=4, metrics={"val_loss": 0.1}, config={"lr": 1e-2})
    with open_checkpoint(tmp_path / "a.orbax") as ckpt:
        assert ckpt.layout == "state_metadata"
        assert (ckpt.step, ckpt.epoch, ckpt.metrics, ckpt.config) == (1, 4, {"val_loss": 0.1}, {"lr": 1e-2})
        assert "adamw" in ckpt.opt_state.kind
        assert set(ckpt.opt_state.slots) == {"mu", "nu"}
        assert ckpt.metadata.extra == {}
        timestamp = ckpt.timestamp
    target = {
        "state": jax.tree.map(jnp.zeros_like, state),
        "metadata": {"epoch": 0, "metrics": {"val_loss": 0.0}, "config": {"lr": 0.0}},
        "timestamp": 0.0,
    }
    with ocp.PyTreeCheckpointer() as checkpointer:
        restored = checkpointer.restore(tmp_path / "a.orbax", item=target)
    assert isinstance(restored["state"], TrainState)
    assert same(restored["state"], state)
    assert restored["metadata"]["epoch"] == 4 and restored["timestamp"] == timestamp


def test_a_train_state_is_restored_by_flax(tmp_path) -> None:
    state, _ = train_state()
    save_checkpoint(tmp_path / "a.msgpack", state, epoch=4)
    data = (tmp_path / "a.msgpack").read_bytes()
    target = {"state": jax.tree.map(jnp.zeros_like, state), "metadata": {"epoch": 0}, "timestamp": 0.0}
    assert same(flax.serialization.from_bytes(target, data)["state"], state)


def test_variables_and_an_optax_state(tmp_path) -> None:
    state, variables = train_state()
    save_checkpoint(tmp_path / "a.orbax", variables, state.opt_state, step=jnp.int32(7), epoch=2)
    with open_checkpoint(tmp_path / "a.orbax") as ckpt:
        assert (ckpt.step, ckpt.epoch) == (7, 2)
        assert set(ckpt.params) == {"Dense_0", "Dense_1", "BatchNorm_0"}
        assert set(ckpt.buffers["BatchNorm_0"]) == {"mean", "var"}
        assert "adamw" in ckpt.opt_state.kind


def test_nnx(tmp_path) -> None:
    model = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
    save_checkpoint(tmp_path / "a.orbax", model, optimizer, epoch=5)
    with open_checkpoint(tmp_path / "a.orbax") as ckpt:
        assert (ckpt.step, ckpt.epoch) == (0, 5)
        assert np.array_equal(ckpt.params["kernel"][:], model.kernel[...])
        assert set(ckpt.opt_state.slots) == {"mu", "nu"}


def test_numpy_trees(tmp_path) -> None:
    flat = {"a.weight": np.ones((2, 3), np.float32)}
    save_checkpoint(tmp_path / "a.pth", flat, epoch=1)
    assert list(torch.load(tmp_path / "a.pth", weights_only=True))[:2] == ["epoch", "model_state_dict"]
    save_checkpoint(tmp_path / "b.pkl", {"a": {"kernel": np.ones(3, np.float32)}}, step=3)
    with open_checkpoint(tmp_path / "b.pkl") as ckpt:
        assert ckpt.layout == "state_metadata" and ckpt.step == 3
    save_checkpoint(tmp_path / "c.pth", flat)
    assert list(torch.load(tmp_path / "c.pth", weights_only=True)) == ["a.weight"], "a tree alone is itself"


def test_several_optimizers(tmp_path) -> None:
    model, optimizer, _ = trained()
    second = torch.optim.SGD(model.parameters(), lr=0.1)
    save_checkpoint(tmp_path / "a.pth", model, {"g": optimizer, "d": second}, step=1)
    with open_checkpoint(tmp_path / "a.pth") as ckpt:
        assert [state.kind[0] for state in ckpt.opt_states.values()] == ["adamw", "sgd"]


def test_the_middle_of_an_epoch_is_a_fraction(tmp_path) -> None:
    model, _, _ = trained()
    save_checkpoint(tmp_path / "a.pth", model, epoch=3.5)
    assert torch.load(tmp_path / "a.pth", weights_only=True)["epoch"] == 3.5


def test_what_stands_in_several_places_is_found_wherever_it_is_put(tmp_path) -> None:
    model, _, _ = trained()
    shared = {"values": [1, 2, 3]}
    twice = {"one": shared, "other": shared}
    group = {"lr": 0.1, "betas": shared["values"], "again": shared["values"], "params": [0]}
    parts = {
        "optimizer": {"state": {}, "param_groups": [group]}, "scheduler": twice, "scaler": twice, "rng": twice,
        "metrics": twice, "config": twice, "extra": {"more": twice},
    }  # fmt: skip
    save_checkpoint(tmp_path / "a.pth", model, **parts)
    saved = torch.load(tmp_path / "a.pth", weights_only=True)
    assert saved["optimizer_state_dict"]["param_groups"][0] == group
    for key in ("scheduler_state_dict", "scaler", "rng", "metrics", "config", "more"):
        assert saved[key] == twice, key
    variables = {"params": {"w": jnp.ones(3)}}
    save_checkpoint(tmp_path / "a.pkl", variables, **{**parts, "optimizer": [twice, twice]})
    with open_checkpoint(tmp_path / "a.pkl") as ckpt:
        named = {"scheduler": ckpt.tree["scheduler"], "rng": ckpt.tree["rng"], "more": ckpt.tree["more"]}
        for key, node in (*named.items(), ("opt_state", ckpt.tree["state"]["opt_state"])):
            assert as_plain(node, ckpt.tree) == ([twice, twice] if key == "opt_state" else twice), key
        assert ckpt.metrics == ckpt.config == twice


def test_what_cannot_be_meant_is_refused(tmp_path) -> None:
    model, _, scheduler = trained()
    with pytest.raises(UsageError, match=r"a torch\.optim\.lr_scheduler\.StepLR is no torch optimizer"):
        save_checkpoint(tmp_path / "a.pth", model, scheduler)
    with pytest.raises(UsageError, match="is a class, not a model"):
        save_checkpoint(tmp_path / "a.pth", torch.nn.Linear, epoch=1)
    assert list(tmp_path.iterdir()) == []
