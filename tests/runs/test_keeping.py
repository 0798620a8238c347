"""Run.save: periodic, best and final checkpoints of a training loop."""

from __future__ import annotations

import os

import jax.numpy as jnp
import pytest
import torch

from ckpt_core import Run, open_checkpoint, plan_resume
from ckpt_core.errors import UsageError

from .conftest import trained

EERS = [0.5, 0.4, 0.45, float("nan"), 0.3, 0.35, 0.36]


def train(run: Run, epochs: range = range(1, 8), **options) -> list:
    model, optimizer = trained(0)
    kept = []
    for epoch in epochs:
        with torch.no_grad():
            model[0].weight += 1
        metrics = {"val_eer": EERS[(epoch - 1) % 7]}
        kept.append(
            run.save(
                model, optimizer, epoch=epoch, step=10 * epoch, metrics=metrics, best="val_eer", **options
            )
        )
    return kept


def test_periodic_best_and_final(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run("runs/exp")
    kept = train(run, every=2)
    assert [bool(one.best) for one in kept] == [True, True, False, False, True, False, False]
    assert [one.best_value for one in kept] == [0.5, 0.4, 0.4, 0.4, 0.3, 0.3, 0.3]
    assert sorted(os.listdir("runs/exp")) == [
        "checkpoint_best.pth", "checkpoint_epoch_2.pth", "checkpoint_epoch_4.pth", "checkpoint_epoch_6.pth",
    ]  # fmt: skip
    assert torch.load("runs/exp/checkpoint_best.pth")["epoch"] == 5
    assert {entry.role for entry in run} == {"periodic", "best"}
    assert run.best("val_eer").epoch == 5


def test_the_best_is_a_link_and_keeps_what_it_is(tmp_path) -> None:
    model, optimizer = trained(0)
    run = Run(tmp_path)
    kept = run.save(model, optimizer, epoch=1, metrics={"val_eer": 0.5}, best="val_eer", final=True)
    assert len(kept.paths) == 3
    assert len({os.stat(path).st_ino for path in kept.paths}) == 1
    again = run.save(model, optimizer, epoch=1, metrics={"val_eer": 0.9}, best="val_eer")
    assert again.best is None
    assert torch.load(tmp_path / "checkpoint_best.pth")["metrics"] == {"val_eer": 0.5}
    assert torch.load(tmp_path / "checkpoint_epoch_1.pth")["metrics"] == {"val_eer": 0.9}
    run.save(model, optimizer, epoch=1, metrics={"val_eer": 0.1}, best="val_eer", final=True)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_a_restarted_run_remembers_its_best(tmp_path) -> None:
    train(Run(tmp_path), range(1, 6))
    assert train(Run(tmp_path), range(6, 7))[0].best is None
    data = (tmp_path / "checkpoint_best.pth").read_bytes()
    (tmp_path / "checkpoint_best.pth").unlink()
    (tmp_path / "checkpoint_best.pth").write_bytes(data[:500])
    assert train(Run(tmp_path), range(7, 8))[0].best is not None, "a damaged best is replaced"


def test_directories_are_written_in_full(tmp_path) -> None:
    run = Run(tmp_path)
    params = {"params": {"w": jnp.ones(3)}}
    for epoch, loss in ((1, 0.5), (2, 0.25), (3, 0.75)):
        run.save(
            params, epoch=epoch, step=epoch, metrics={"val_loss": loss}, best="val_loss", final=epoch == 3
        )
    assert sorted(os.listdir(tmp_path)) == [
        "checkpoint_best.orbax", "checkpoint_epoch_1.orbax", "checkpoint_epoch_2.orbax", "checkpoint_epoch_3.orbax",
        "checkpoint_final.orbax",
    ]  # fmt: skip
    with open_checkpoint(tmp_path / "checkpoint_best.orbax") as ckpt:
        assert ckpt.epoch == 2
    assert run.best("val_loss").epoch == 2
    found = {entry.name: entry for entry in run}
    assert found["checkpoint_best.orbax"].same_as == ("checkpoint_epoch_2.orbax",)


def test_names(tmp_path) -> None:
    model, _ = trained(0)
    run = Run(tmp_path)
    run.save(model, step=500, comment="warm")
    run.save(model, epoch=2.5, step=250)
    run.save(model, epoch=2.5, step=251, every=2)
    run.save(model, epoch=3, to="safetensors")
    assert sorted(os.listdir(tmp_path)) == [
        "checkpoint_epoch_2_step_250.pth", "checkpoint_epoch_3.safetensors", "checkpoint_step_500_warm.pth"
    ]  # fmt: skip


def test_a_save_in_the_middle_of_an_epoch_is_written(tmp_path) -> None:
    model, optimizer = trained(0)
    run = Run(tmp_path)
    run.save(model, optimizer, epoch=3, step=30)
    kept = run.save(model, optimizer, epoch=3.5, step=35)
    assert kept.periodic == str(tmp_path / "checkpoint_epoch_3_step_35.pth")
    assert run.save(model, optimizer, epoch=3.75, step=38, every=2).periodic is None
    plan = plan_resume(run, auto_resume=True, epochs=5)
    assert (plan.path, plan.epoch, plan.batch) == (kept.periodic, 4, 5)


def test_what_cannot_be_meant_is_refused(tmp_path) -> None:
    model, _ = trained(0)
    run = Run(tmp_path / "new")
    with pytest.raises(UsageError, match="neither epoch nor step is given"):
        run.save(model)
    with pytest.raises(
        UsageError, match=r"(?s)best='val_eer' is not among the metrics.*Metrics given: val_loss"
    ):
        run.save(model, epoch=1, metrics={"val_loss": 1.0}, best="val_eer")
    with pytest.raises(UsageError, match="does not tell whether lower or higher is better"):
        run.save(model, epoch=1, metrics={"odd": 1.0}, best="odd")
    with pytest.raises(UsageError, match="every=0 is no interval"):
        run.save(model, epoch=1, every=0)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("metric", "values", "best"), [("val_eer", [0.3, 0.3, 0.4], 1), ("val_acc", [0.5, 0.6, 0.6], 2)]
)
def test_of_equal_values_the_first_stays_the_best(metric, values, best, tmp_path) -> None:
    model, _ = trained(0)
    run = Run(tmp_path)
    for epoch, value in enumerate(values, 1):
        run.save(model, epoch=epoch, metrics={metric: value}, best=metric)
    assert torch.load(tmp_path / "checkpoint_best.pth")["epoch"] == best


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_never_the_best_not_even_the_first(value, tmp_path) -> None:
    model, optimizer = trained(0)
    run = Run(tmp_path)
    first = run.save(model, optimizer, epoch=1, metrics={"val_loss": value}, best="val_loss")
    assert (first.best, first.best_value) == (None, None)
    assert run.save(model, optimizer, epoch=2, metrics={"val_loss": 3.0}, best="val_loss").best is not None
