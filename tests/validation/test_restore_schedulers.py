"""Learning-rate schedulers and gradient scalers: saved live, restored live, by torch's own judgement."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from ckpt_core import open_checkpoint, restore, save_checkpoint
from ckpt_core.errors import MismatchError, UsageError


def made(seed: int = 0) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = torch.nn.Linear(3, 2)
    groups = [{"params": [model.weight], "lr": 0.1}, {"params": [model.bias], "lr": 0.2}]
    return model, torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def sequence(optimizer):
    parts = [LinearLR(optimizer, 0.1, total_iters=2), CosineAnnealingLR(optimizer, 9)]
    return SequentialLR(optimizer, parts, milestones=[2])


KINDS = {
    "step": lambda o: StepLR(o, 2),
    "multistep": lambda o: MultiStepLR(o, [1, 3]),
    "exponential": lambda o: ExponentialLR(o, 0.9),
    "cosine": lambda o: CosineAnnealingLR(o, 10),
    "restarts": lambda o: CosineAnnealingWarmRestarts(o, 2),
    "one cycle": lambda o: OneCycleLR(o, [0.5, 0.6], total_steps=20),
    "cyclic": lambda o: CyclicLR(o, 0.1, 0.5, step_size_up=3),
    "plateau": lambda o: ReduceLROnPlateau(o, patience=0),
    "lambda": lambda o: LambdaLR(o, lambda epoch: 0.9**epoch),
    "sequence": sequence,
    "chained": lambda o: ChainedScheduler([ExponentialLR(o, 0.9), StepLR(o, 2)], o),
}


def train(model, optimizer, scheduler, steps: int) -> list[list[float]]:
    """The learning rates of further steps."""
    seen = []
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().mean().backward()
        optimizer.step()
        scheduler.step(*([1.0] if isinstance(scheduler, ReduceLROnPlateau) else []))
        seen.append([group["lr"] for group in optimizer.param_groups])
    return seen


@pytest.mark.filterwarnings("ignore:The epoch parameter in")  # torch's own SequentialLR passes it
@pytest.mark.parametrize("kind", KINDS)
def test_a_live_scheduler_goes_on_as_it_would_have(kind, tmp_path) -> None:
    model, optimizer = made()
    scheduler = KINDS[kind](optimizer)
    train(model, optimizer, scheduler, 4)
    save_checkpoint(tmp_path / "a.pth", model, optimizer, scheduler=scheduler, epoch=4, step=4)
    loaded = torch.load(tmp_path / "a.pth", weights_only=True)["scheduler_state_dict"]
    assert loaded.keys() == scheduler.state_dict().keys()
    other, again = made(1)
    live = KINDS[kind](again)
    receipt = restore(tmp_path / "a.pth", other, again, live)
    assert receipt.with_scheduler and "scheduler      restored" in str(receipt)
    assert not any("still to be loaded" in hint for hint in receipt.next)
    assert train(other, again, live, 5) == train(model, optimizer, scheduler, 5)
    assert torch.equal(other.weight, model.weight)


def test_a_scheduler_that_was_not_passed_is_still_to_be_loaded(tmp_path) -> None:
    model, optimizer = made()
    save_checkpoint(tmp_path / "a.pth", model, optimizer, scheduler=StepLR(optimizer, 2), epoch=1)
    hints = restore(tmp_path / "a.pth", model, optimizer).next
    assert any("still to be loaded: scheduler_state_dict" in hint for hint in hints)


def test_another_schedule_is_refused_and_nothing_is_touched(tmp_path) -> None:
    model, optimizer = made()
    save_checkpoint(tmp_path / "a.pth", model, optimizer, scheduler=StepLR(optimizer, 2), epoch=1)
    other, again = made(1)
    live = CosineAnnealingLR(again, 10)
    before, state = other.weight.detach().clone(), live.state_dict()
    with pytest.raises(MismatchError) as caught:
        restore(tmp_path / "a.pth", other, again, live)
    text = str(caught.value)
    assert "scheduler: nothing in the checkpoint, 10 in the model @ scheduler/T_max" in text
    assert "scheduler: 2 in the checkpoint, nothing in the model @ scheduler/step_size" in text
    assert "leave scheduler= out" in text
    assert torch.equal(other.weight, before) and live.state_dict() == state
    restore(tmp_path / "a.pth", other, again, live, partial=["scheduler/**"])
    assert live.state_dict() == state


def test_schedules_of_other_groups_are_refused(tmp_path) -> None:
    model, optimizer = made()
    save_checkpoint(tmp_path / "a.pth", model, scheduler=StepLR(optimizer, 2), epoch=1)
    one = torch.nn.Linear(3, 2)
    live = StepLR(torch.optim.SGD(one.parameters(), lr=0.1), 2)
    with pytest.raises(MismatchError, match="scheduler: 2 groups of parameters in the checkpoint, 1 groups"):
        restore(tmp_path / "a.pth", one, scheduler=live)
    save_checkpoint(tmp_path / "b.pth", model, optimizer, epoch=1)
    with pytest.raises(MismatchError, match="nothing in the checkpoint, a scheduler in use"):
        restore(tmp_path / "b.pth", model, optimizer, StepLR(optimizer, 2))


def test_one_of_several_is_chosen_by_name(tmp_path) -> None:
    model, optimizer = made()
    states = {"lr": StepLR(optimizer, 2).state_dict(), "wd": StepLR(optimizer, 7).state_dict()}
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedulers": [*states.values()]}, tmp_path / "a.pth")  # fmt: skip
    live = StepLR(optimizer, 3)
    with pytest.raises(UsageError, match=r"(?s)holds 2 schedulers.*schedulers/0, schedulers/1"):
        restore(tmp_path / "a.pth", model, optimizer, live)
    restore(tmp_path / "a.pth", model, optimizer, live, scheduler_name="schedulers/1")
    assert live.step_size == 7


def test_what_fails_later_takes_the_scheduler_back(tmp_path) -> None:
    model, optimizer = made()
    scheduler = StepLR(optimizer, 2)
    train(model, optimizer, scheduler, 3)
    save_checkpoint(tmp_path / "a.pth", model, optimizer, scheduler=scheduler, epoch=3)

    class Refusing(torch.optim.SGD):
        def load_state_dict(self, state_dict):
            raise RuntimeError("not today")

    other = torch.nn.Linear(3, 2)
    again = Refusing([{"params": [other.weight]}, {"params": [other.bias]}], lr=0.1, momentum=0.9)
    live = StepLR(again, 2)
    before = live.state_dict()
    with pytest.raises(RuntimeError, match="not today"):
        restore(tmp_path / "a.pth", other, again, live)
    assert live.state_dict() == before


def test_a_live_gradient_scaler_is_saved(tmp_path) -> None:
    model, _ = made()
    scaler = torch.amp.GradScaler("cpu", init_scale=128.0)
    save_checkpoint(tmp_path / "a.pth", model, scaler=scaler, epoch=1)
    assert torch.load(tmp_path / "a.pth", weights_only=True)["scaler"] == scaler.state_dict()


@pytest.mark.parametrize("way", ["saved", "by hand"])
def test_a_live_gradient_scaler_goes_on_as_it_would_have(way, tmp_path) -> None:
    model, optimizer = made()
    scaler = torch.amp.GradScaler("cpu", init_scale=128.0, growth_interval=2)
    for _ in range(3):
        optimizer.zero_grad()
        scaler.scale(model(torch.ones(4, 3)).square().mean()).backward()
        scaler.step(optimizer)
        scaler.update()
    if way == "saved":
        save_checkpoint(tmp_path / "a.pth", model, optimizer, scaler=scaler, epoch=1)
    else:
        states = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scaler": scaler.state_dict(),
        }
        torch.save(states, tmp_path / "a.pth")
    other, again = made(1)
    assert any(
        "the gradient scaler: restore(..., scaler=" in hint
        for hint in restore(tmp_path / "a.pth", other, again).next
    )
    live = torch.amp.GradScaler("cpu")
    receipt = restore(tmp_path / "a.pth", other, again, scaler=live)
    assert receipt.with_scaler and "gradient scaler  restored" in str(receipt)
    assert not any("scaler" in hint for hint in receipt.next)
    assert live.state_dict() == scaler.state_dict() != torch.amp.GradScaler("cpu").state_dict()
    off = torch.amp.GradScaler("cpu", enabled=False)
    assert not restore(tmp_path / "a.pth", other, again, scaler=off).with_scaler


def test_a_gradient_scaler_that_was_not_saved_is_missing_and_nothing_is_touched(tmp_path) -> None:
    model, optimizer = made()
    save_checkpoint(tmp_path / "a.pth", model, optimizer, epoch=1)
    off = torch.amp.GradScaler("cpu", enabled=False)
    torch.save({"model": model.state_dict(), "scaler": off.state_dict()}, tmp_path / "off.pth")
    other, _ = made(1)
    before = other.weight.detach().clone()
    live = torch.amp.GradScaler("cpu")
    with pytest.raises(
        MismatchError,
        match=r"(?s)scaler: nothing in the checkpoint, a gradient scaler in use.*leave scaler= out",
    ):
        restore(tmp_path / "a.pth", other, scaler=live)
    with pytest.raises(
        MismatchError, match=r"scaler: (nothing|the state of one that is switched off) in the checkpoint"
    ):
        restore(tmp_path / "off.pth", other, scaler=live)
    assert torch.equal(other.weight, before)
    restore(tmp_path / "a.pth", other, scaler=live, partial="scaler/**")


def test_states_of_random_generators_are_told(tmp_path) -> None:
    model, optimizer = made()
    save_checkpoint(tmp_path / "a.pth", model, optimizer, epoch=1, rng={"torch": torch.get_rng_state()})
    assert any("ckpt.rng: " in hint for hint in restore(tmp_path / "a.pth", model, optimizer).next)


def test_what_is_no_scheduler(tmp_path) -> None:
    model, optimizer = made()
    with pytest.raises(UsageError, match=r"(?s)scheduler is a object.*scheduler=scheduler.state_dict\(\)"):
        save_checkpoint(tmp_path / "a.pth", model, optimizer, scheduler=object())
    save_checkpoint(tmp_path / "a.pth", model, optimizer, epoch=1)
    with pytest.raises(UsageError, match="is no scheduler of torch"):
        restore(tmp_path / "a.pth", model, optimizer, optimizer)
    with open_checkpoint(tmp_path / "a.pth") as ckpt:
        assert ckpt.schedulers == {}
