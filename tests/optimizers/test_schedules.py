"""torch's learning-rate schedulers as optax schedules: the function, the position, and what is not known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from ckpt_flax.bridge import recipes
from ckpt_flax.transforms import cosine_restarts
from optimizers.crossing import file_to_flax
from optimizers.worlds import TorchMlp, mlp, train_torch

from ckpt_core import transfer
from ckpt_core.optimizers.schedules import schedule_of

LR = torch.optim.lr_scheduler


def warmed_up(then, steps=4):
    return lambda o: LR.SequentialLR(o, [LR.LinearLR(o, 0.1, total_iters=steps), then(o)], [steps])


SCHEDULERS = {
    "step": lambda o: LR.StepLR(o, 3, 0.5),
    "multi": lambda o: LR.MultiStepLR(o, [2, 5, 5], 0.5),
    "exponential": lambda o: LR.ExponentialLR(o, 0.9),
    "cosine": lambda o: LR.CosineAnnealingLR(o, 30, 0.01),
    "cosine, past its minimum": lambda o: LR.CosineAnnealingLR(o, 7, 0.01),
    "restarts": lambda o: LR.CosineAnnealingWarmRestarts(o, 3, 2, 0.01),
    "restarts of one length": lambda o: LR.CosineAnnealingWarmRestarts(o, 5),
    "linear": lambda o: LR.LinearLR(o, 0.2, 0.9, 6),
    "constant": lambda o: LR.ConstantLR(o, 0.25, 4),
    "polynomial": lambda o: LR.PolynomialLR(o, 20, 2.0),
    "warm-up, then cosine": warmed_up(lambda o: LR.CosineAnnealingLR(o, 7)),
    "warm-up, then restarts": warmed_up(lambda o: LR.CosineAnnealingWarmRestarts(o, 2, 3)),
}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("every", [1, 5])
def test_schedulers_are_the_same_function(name, every):
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": rate} for rate in (0.1, 0.0)]
    optimizer = torch.optim.SGD(groups)
    scheduler = SCHEDULERS[name](optimizer)
    for _ in range(2):
        optimizer.step()
        scheduler.step()
    found = schedule_of(scheduler.state_dict(), 2 * every)
    assert found.position == 2 * every
    with jax.enable_x64(True):
        schedules = [recipes.build(recipe) for recipe in found.recipes]
        for epoch in range(2, 30):
            rates = [float(schedule(jnp.asarray(epoch * every))) for schedule in schedules]
            assert rates == pytest.approx([group["lr"] for group in optimizer.param_groups], rel=2e-6), epoch
            optimizer.step()
            scheduler.step()


def test_a_restart_is_where_it_is_and_not_a_rounding_later():
    """log(3^5) / log(3) is less than 5 in floating point."""
    with jax.enable_x64(True):
        rate = cosine_restarts(0.1, 0.0, 1, 3)
        assert [float(rate(jnp.asarray(float(t)))) for t in (0, 1, 4, 13, 40, 121, 364)] == [0.1] * 7


UNKNOWN = {
    "LambdaLR": (lambda o: LR.LambdaLR(o, lambda t: 1.0), "not in its state"),
    "CyclicLR": (lambda o: LR.CyclicLR(o, 0.1, 0.2, cycle_momentum=False), "no counterpart in optax"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_schedule_that_the_state_does_not_tell_is_a_position_alone(name):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    make, reason = UNKNOWN[name]
    scheduler = make(optimizer)
    optimizer.step()
    scheduler.step()
    found = schedule_of(scheduler.state_dict(), 1)
    assert (found.position, found.recipes) == (1, ())
    assert reason in found.notes[0]
    assert found.notes[0].endswith("; it stands at 1")


def test_restarts_that_were_stepped_by_parts_of_an_epoch_are_a_position_alone():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    scheduler = LR.CosineAnnealingWarmRestarts(optimizer, 3, 2)
    optimizer.step()
    scheduler.step(4.5)
    assert schedule_of(scheduler.state_dict(), 4).recipes == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"T_0": 0, "T_mult": 2},
        {"T_mult": 0},
        {"last_epoch": float("inf")},
        {"last_epoch": 10**400},
        {"T_cur": None},
        {"eta_min": "low"},
    ],
)
def test_settings_that_no_scheduler_has_are_no_function(wrong):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    saved = LR.CosineAnnealingWarmRestarts(optimizer, 3, 2).state_dict() | {"last_epoch": 2, "T_cur": 2}
    assert schedule_of(saved, 2).recipes
    found = schedule_of(saved | wrong, 2)
    assert found is None or found.recipes == ()


@pytest.mark.parametrize("step", [None, 0, 41, 90])
def test_what_a_scheduler_counts_is_not_guessed(step):
    """A run that saves epochs alone, as torchvision's does, decays once an epoch and not once an update."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    scheduler = LR.StepLR(optimizer, 30, 0.1)
    for _ in range(40):
        optimizer.step()
        scheduler.step()
    found = schedule_of(scheduler.state_dict(), step)
    assert (found.position, found.recipes) == (40, ())
    assert "how often it is stepped is not clear" in found.notes[0]


def test_the_number_of_updates_can_be_given(tmp_path):
    world = mlp()
    model = world.torch_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = LR.StepLR(optimizer, 3, 0.1)
    for epoch in range(4):
        train_torch(world, model, optimizer, 5 * epoch, 5)
        scheduler.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 4}
    torch.save({**state, "lr_scheduler": scheduler.state_dict()}, tmp_path / "a.pth")
    unclear = file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack")
    assert any(
        "an unknown number of updates: how often it is stepped" in note for note in unclear.receipt.notes
    )
    assert any("optimizer_step=" in note for note in unclear.receipt.notes)
    assert unclear.suggestion.recipe.kwargs["learning_rate"] == pytest.approx(0.01)
    done = file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack", optimizer_step=20)
    assert done.training.carried.state.step == 20
    schedule = recipes.build(done.suggestion.recipe.kwargs["learning_rate"])
    rates = [float(schedule(jnp.asarray(step))) for step in (14, 15, 29, 30)]
    assert rates == pytest.approx([0.1, 0.01, 0.01, 0.001])


POSITIONS = {
    "OneCycleLR": lambda o: LR.OneCycleLR(o, 0.02, total_steps=200),
    "LambdaLR": lambda o: LR.LambdaLR(o, lambda t: 1 / (1 + t)),
    "ChainedScheduler": lambda o: LR.ChainedScheduler(
        [LR.ConstantLR(o, 0.1, 5), LR.ExponentialLR(o, 0.9)], o
    ),
    "ReduceLROnPlateau": lambda o: LR.ReduceLROnPlateau(o, patience=2),
}


WHY = {"LambdaLR": "is not in its state", "ReduceLROnPlateau": "follows a metric"}


@pytest.mark.parametrize("name", POSITIONS)
def test_a_scheduler_of_unknown_function_is_named_and_comes_home(name, tmp_path):
    world = mlp()
    model = world.torch_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = POSITIONS[name](optimizer)
    for step in range(4):
        train_torch(world, model, optimizer, step, 1)
        scheduler.step(*([1.0] if name == "ReduceLROnPlateau" else []))
    state = {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}
    torch.save({**state, "scheduler_state_dict": scheduler.state_dict()}, tmp_path / "a.pth")
    done = file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack")
    reason = WHY.get(name, "no counterpart in optax that is known here")
    assert any(reason in note and "; it stands at 4" in note for note in done.receipt.notes)
    assert any("the learning rate stays as it is" in note for note in done.receipt.notes)
    assert any("moves the momentum" in note for note in done.receipt.notes) == (name == "OneCycleLR")
    with transfer(
        tmp_path / "b.msgpack", world.torch_model(), rules=world.plan, reverse=True, with_optimizer=True
    ) as back:
        home = back.tree["scheduler_state_dict"]
    assert home.keys() == scheduler.state_dict().keys()
    again = POSITIONS[name](torch.optim.Adam(model.parameters(), lr=0.01))
    again.load_state_dict({key: home[key] for key in home})
    inner = again._schedulers[0] if name == "ChainedScheduler" else again
    assert inner.last_epoch == 4
    assert np.isfinite(done.suggestion.recipe.kwargs["learning_rate"])


def saved_with(model, schedulers, **optimizers):
    return {"model_state_dict": model.state_dict(), **optimizers, **schedulers}


def trained(optimizer_of, *schedulers_of, steps=4):
    world = mlp()
    model = world.torch_model()
    optimizer = optimizer_of(model)
    schedulers = [make(optimizer) for make in schedulers_of]
    for step in range(steps):
        train_torch(world, model, optimizer, step, 1)
        for scheduler in schedulers:
            scheduler.step()
    return world, model, optimizer, schedulers


def adam(model):
    return torch.optim.Adam(model.named_parameters(), lr=0.1)


def test_a_scheduler_in_a_list_is_one(tmp_path):
    """As Lightning saves it."""
    world, model, optimizer, (scheduler,) = trained(adam, lambda o: LR.StepLR(o, 3, 0.5))
    lists = {"optimizer_states": [optimizer.state_dict()], "lr_schedulers": [scheduler.state_dict()]}
    torch.save({"state_dict": model.state_dict(), **lists, "epoch": 1, "global_step": 4}, tmp_path / "a.ckpt")
    done = file_to_flax(world, tmp_path / "a.ckpt", tmp_path / "b.msgpack")
    assert done.suggestion.recipe.kwargs["learning_rate"].args[1].function == "optax.exponential_decay"
    with transfer(
        tmp_path / "b.msgpack", world.torch_model(), rules=world.plan, reverse=True, with_optimizer=True
    ) as back:
        assert back.tree["lr_schedulers"][0]["step_size"] == 3


def test_each_optimizer_has_its_own_scheduler(tmp_path):
    world, model, first, (slow,) = trained(adam, lambda o: LR.StepLR(o, 3, 0.5))
    second = torch.optim.SGD(model.named_parameters(), lr=0.5)
    quick = LR.ExponentialLR(second, 0.9)
    for _ in range(4):
        second.step()
        quick.step()
    schedulers = {"schedulers": [slow.state_dict(), quick.state_dict()]}
    both = {"optimizer_G": first.state_dict(), "optimizer_D": second.state_dict(), "step": 4}
    torch.save(saved_with(model, schedulers, **both), tmp_path / "a.pth")

    def function(name):
        done = file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack", optimizer_name=name)
        return done.suggestion.recipe.kwargs["learning_rate"].args[1].kwargs

    assert function("optimizer_G") == {"staircase": True}
    assert function("optimizer_D") == {}


def test_several_schedulers_of_one_optimizer_are_a_position_alone(tmp_path):
    makers = (lambda o: LR.LinearLR(o, 0.1, 1.0, 3), lambda o: LR.ExponentialLR(o, 0.9))
    world, model, optimizer, schedulers = trained(adam, *makers)
    states = {"schedulers": [scheduler.state_dict() for scheduler in schedulers]}
    torch.save(saved_with(model, states, optimizer=optimizer.state_dict()), tmp_path / "a.pth")
    done = file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack")
    assert any("2 schedulers are saved, and how they work together" in note for note in done.receipt.notes)
    assert done.suggestion.recipe.kwargs["learning_rate"] == optimizer.param_groups[0]["lr"]


def test_a_scheduler_of_no_known_form_is_named(tmp_path):
    world, model, optimizer, _ = trained(adam)
    state = {"scheduler": {"begin": 0, "last_step": 4}}
    torch.save(saved_with(model, state, optimizer=optimizer.state_dict()), tmp_path / "a.pth")
    done = file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack")
    assert any("of no known form: scheduler" in note for note in done.receipt.notes)
    assert any("the learning rate stays as it is" in note for note in done.receipt.notes)


def test_what_a_sequence_shares_with_its_parts_comes_home(tmp_path):
    world, model, optimizer, (scheduler,) = trained(adam, warmed_up(lambda o: LR.ExponentialLR(o, 0.9), 3))
    state = {"scheduler": scheduler.state_dict()}
    torch.save(saved_with(model, state, optimizer=optimizer.state_dict()), tmp_path / "a.pth")
    file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack")
    with transfer(
        tmp_path / "b.msgpack", world.torch_model(), rules=world.plan, reverse=True, with_optimizer=True
    ) as back:
        back.save(tmp_path / "c.pth")
    assert torch.load(tmp_path / "c.pth", weights_only=True)["scheduler"] == scheduler.state_dict()


class Wrapped(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = TorchMlp()


def test_within_torch_a_scheduler_stays_what_it_is(tmp_path):
    _, model, optimizer, (scheduler,) = trained(adam, lambda o: LR.OneCycleLR(o, 0.1, total_steps=9))
    state = {"lr_scheduler": scheduler.state_dict()}
    torch.save(saved_with(model, state, optimizer=optimizer.state_dict()), tmp_path / "a.pth")
    with transfer(tmp_path / "a.pth", Wrapped(), with_optimizer=True) as done:
        done.save(tmp_path / "b.pth")
        assert not any("schedule" in note for note in done.receipt.notes)
    saved = torch.load(tmp_path / "b.pth", weights_only=False)
    assert saved["lr_scheduler"] == scheduler.state_dict()
    assert saved["optimizer_state_dict"]["param_groups"][0]["max_lr"] == 0.1
