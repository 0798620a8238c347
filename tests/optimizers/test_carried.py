"""What goes along besides the optimizer: averaged copies, the gradient scaler, random states, counters."""

from __future__ import annotations

from typing import Any

import flax.serialization
import jax
import numpy as np
import optax
import orbax.checkpoint
import pytest
import torch
from flax import nnx
from flax.training.train_state import TrainState
from optimizers.crossing import file_to_flax, file_to_torch
from optimizers.worlds import conv, mlp, train_torch

from ckpt_core import open_checkpoint, restore, save_checkpoint, suggest_optimizer, transfer


def test_a_training_state_goes_along_and_comes_back(tmp_path):
    world = mlp()
    model = world.torch_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    train_torch(world, model, optimizer, 0, 3, scheduler=scheduler)
    averaged = {name: value / 2 for name, value in model.state_dict().items()}
    scaler = {
        "scale": 1024.0,
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": 2000,
        "_growth_tracker": 7,
    }
    saved = {
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": scheduler.state_dict(),
        "ema_state_dict": averaged,
        "scaler": scaler,
        "rng_state": torch.get_rng_state(),
        "epoch": 2,
        "step": 3,
        "config": {"width": 16},
    }
    torch.save(saved, tmp_path / "a.pth")
    done = file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack")
    notes = " ".join(done.receipt.notes)
    assert "no other framework can go on with them: rng_state" in notes
    assert "it stands at 3" in notes
    with open_checkpoint(tmp_path / "b.msgpack") as ckpt:
        assert (ckpt.step, ckpt.epoch, ckpt.config["width"]) == (3, 2, 16)
        (copy,) = ckpt.ema.values()
        expected = averaged["second.weight"].numpy().T
        assert np.array_equal(copy["second/kernel"].read(), expected)
        assert ckpt.tree["scaler"]["fin_steps"] == 7
    file_to_torch(world, tmp_path / "b.msgpack", tmp_path / "c.pth")
    back = torch.load(tmp_path / "c.pth", weights_only=True)
    assert back["scaler"] == scaler
    assert torch.equal(back["model_state_dict"]["second.weight"], model.second.weight)


def test_a_schedule_position_comes_back_as_a_lambda_scheduler(tmp_path):
    world = mlp()
    params = world.flax_init()["params"]
    tx = optax.adam(optax.constant_schedule(0.1))
    state = tx.init(params)
    for _ in range(4):
        _, state = tx.update(params, state, params)
    (tmp_path / "a.msgpack").write_bytes(
        flax.serialization.to_bytes({"params": params, "opt_state": state, "step": 4})
    )
    file_to_torch(
        world,
        tmp_path / "a.msgpack",
        tmp_path / "b.pth",
        optimizer_kind="adam",
        hyperparams={"learning_rate": 0.1},
    )
    saved = torch.load(tmp_path / "b.pth", weights_only=True)["scheduler_state_dict"]
    optimizer = torch.optim.Adam(world.torch_model().parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    scheduler.load_state_dict(saved)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.1 * 0.5**5


def test_restore_takes_the_checkpoint_of_a_transfer():
    world = mlp()
    model = world.torch_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train_torch(world, model, optimizer, 0, 3)
    variables = world.flax_init()
    state = {
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "step": 3,
    }
    with transfer(state, variables, rules=world.plan, with_optimizer=True) as done:
        tx = suggest_optimizer(done.training.carried.state).live
        restored = restore(done.checkpoint, variables, tx.init(variables["params"]))
    assert int(restored.optimizer[0].count) == 3
    expected = optimizer.state[model.second.weight]["exp_avg"].numpy().T
    assert np.array_equal(restored.optimizer[0].mu["second"]["kernel"], expected)


def test_a_suggested_torch_optimizer_is_live(tmp_path):
    world = mlp()
    model = world.torch_model()
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1]},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    train_torch(world, model, optimizer, 0, 1)
    torch.save(
        {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()},
        tmp_path / "a.pth",
    )
    with open_checkpoint(tmp_path / "a.pth") as ckpt:
        found = suggest_optimizer(ckpt.opt_state, model=model)
    assert type(found.live) is torch.optim.AdamW
    assert [g["weight_decay"] for g in found.live.param_groups] == [0.01, 0.0]
    assert [len(g["params"]) for g in found.live.param_groups] == [3, 3]
    names = {"model": model}
    exec(found.code, names)  # what is printed is what is built
    assert [g["weight_decay"] for g in names["optimizer"].param_groups] == [0.01, 0.0]


def test_an_averaged_model_goes_along_with_its_statistics(tmp_path):
    """torch's AveragedModel: other names than the weights', and buffers of its own."""
    world = conv()
    model = world.torch_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    averaged = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    for step in range(3):
        train_torch(world, model, optimizer, step, 1)
        averaged.update_parameters(model)
    state = {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}
    torch.save({**state, "ema": averaged.state_dict()}, tmp_path / "a.pth")
    done = file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack")
    assert "of the copy ema, n_averaged is left behind" in done.receipt.notes
    own = averaged.module.state_dict()
    with open_checkpoint(tmp_path / "b.msgpack") as ckpt:
        (copy,) = ckpt.ema.values()
        found = dict(copy.leaves())
        assert np.array_equal(
            found["params/down/kernel"].read(), own["down.weight"].numpy().transpose(2, 3, 1, 0)
        )
        assert np.array_equal(found["batch_stats/norm/mean"].read(), own["norm.running_mean"].numpy())
    file_to_torch(world, tmp_path / "b.msgpack", tmp_path / "c.pth")
    back = torch.load(tmp_path / "c.pth", weights_only=True)["ema"]
    assert back.keys() == own.keys() - {"norm.num_batches_tracked"}
    assert all(torch.equal(back[name], own[name]) for name in back)


class Net(nnx.Module):
    def __init__(self, seed):
        rngs = nnx.Rngs(seed)
        self.first, self.norm = nnx.Linear(6, 5, rngs=rngs), nnx.BatchNorm(5, rngs=rngs)
        self.last = nnx.Linear(5, 2, rngs=rngs)

    def __call__(self, x):
        return self.last(jax.numpy.tanh(self.norm(self.first(x))))


class TorchNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = (
            torch.nn.Linear(6, 5),
            torch.nn.BatchNorm1d(5),
            torch.nn.Linear(5, 2),
        )


def trained(model, optimizer):
    data = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    for _ in range(3):
        grads = nnx.grad(lambda net: (net(data) ** 2).mean())(model)
        optimizer.update(*([grads] if isinstance(optimizer, nnx.ModelAndOptimizer) else [model, grads]))


def test_an_nnx_optimizer_crosses_and_comes_back_live(tmp_path):
    model = Net(0)
    optimizer = nnx.Optimizer(model, optax.adamw(0.01), wrt=nnx.Param)
    trained(model, optimizer)
    save_checkpoint(tmp_path / "a.msgpack", model, optimizer, step=3)
    known = {"optimizer_kind": "adamw", "hyperparams": {"learning_rate": 0.01}}
    with transfer(tmp_path / "a.msgpack", TorchNet(), with_optimizer=True, **known) as done:
        done.save(tmp_path / "b.pth")
    entry = torch.load(tmp_path / "b.pth", weights_only=True)["optimizer_state_dict"]["state"][0]
    mu = optimizer.opt_state[0].mu["first"]["kernel"][...]
    assert (float(entry["step"]), np.array_equal(entry["exp_avg"].numpy(), mu.T)) == (3.0, True)
    again = Net(1)
    fresh = nnx.Optimizer(again, optax.adamw(0.01), wrt=nnx.Param)
    with transfer(tmp_path / "b.pth", again, optimizer=fresh) as back:
        back.save(tmp_path / "c.msgpack")
    restore(tmp_path / "c.msgpack", again, fresh)
    assert int(fresh.step[...]) == int(fresh.opt_state[0].count[...]) == 3
    assert np.array_equal(fresh.opt_state[0].mu["first"]["kernel"][...], mu)
    assert np.array_equal(again.last.kernel[...], model.last.kernel[...])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_and_its_optimizer_in_one(tmp_path):
    model = Net(0)
    optimizer = nnx.ModelAndOptimizer(model, optax.adam(0.01))
    trained(model, optimizer)
    checkpointer = orbax.checkpoint.StandardCheckpointer()
    checkpointer.save(tmp_path / "run", nnx.state(optimizer))
    checkpointer.wait_until_finished()
    known = {"optimizer_kind": "adam", "hyperparams": {"learning_rate": 0.01}}
    with transfer(tmp_path / "run", TorchNet(), with_optimizer=True, **known) as done:
        done.save(tmp_path / "b.pth")
    saved = torch.load(tmp_path / "b.pth", weights_only=True)
    mu = optimizer.opt_state[0].mu["last"]["kernel"][...]
    names = [name for name, _ in TorchNet().named_parameters()]
    entry = saved["optimizer_state_dict"]["state"][names.index("last.weight")]
    assert (float(entry["step"]), np.array_equal(entry["exp_avg"].numpy(), mu.T)) == (3.0, True)


class State(TrainState):
    batch_stats: Any


@pytest.mark.parametrize("container", ["run.msgpack", "run"])
def test_a_train_state_with_statistics_goes_to_torch_and_comes_home(container, tmp_path):
    world = conv()
    variables = world.flax_init()
    tx = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(optax.linear_schedule(0.01, 0.0, 100), weight_decay=0.1)
    )
    state = State.create(
        apply_fn=None, params=variables["params"], batch_stats=variables["batch_stats"], tx=tx
    )
    for seed in range(3):
        grads = jax.tree.map(lambda x: jax.random.normal(jax.random.key(seed), x.shape), state.params)  # noqa: B023
        state = state.apply_gradients(grads=grads)
    if container.endswith(".msgpack"):
        (tmp_path / container).write_bytes(flax.serialization.to_bytes(state))
    else:
        orbax.checkpoint.PyTreeCheckpointer().save(tmp_path / container, state)
    known = {"optimizer_kind": "adamw", "hyperparams": {"learning_rate": 0.01, "weight_decay": 0.1}}
    done = file_to_torch(world, tmp_path / container, tmp_path / "b.pth", **known)
    assert done.training.carried.state.schedule == {"count": 3}
    fresh = State.create(
        apply_fn=None, params=variables["params"], batch_stats=variables["batch_stats"], tx=tx
    )
    with transfer(tmp_path / "b.pth", fresh, rules=world.plan, with_optimizer=True) as back:
        home = restore(back.checkpoint, fresh).model
    assert int(home.step) == 3
    assert jax.tree.all(jax.tree.map(np.array_equal, home.opt_state, state.opt_state))
    assert jax.tree.all(jax.tree.map(np.array_equal, home.params, state.params))
