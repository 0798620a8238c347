"""What goes along besides the optimizer: averaged copies, the gradient scaler, random states, counters."""

from __future__ import annotations

import numpy as np
import torch
from optimizers.crossing import file_to_flax, file_to_torch
from optimizers.worlds import mlp, train_torch

from ckpt_core import open_checkpoint, restore, suggest_optimizer, transfer


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
    import flax.serialization
    import optax

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
