"""Pruning: a dry run unless told, and never the latest, the best, or what was not recognised."""

from __future__ import annotations

import os
import pickle
import shutil

import numpy as np
import orbax.checkpoint as ocp
import pytest
import torch

from ckpt_core import Run, sink
from ckpt_core.errors import TargetError, UsageError


@pytest.fixture
def run(save, tmp_path) -> Run:
    """Ten epochs, the best by val_loss is 4 and by val_acc 6, with files of other kinds among them."""
    for epoch in range(1, 11):
        save(
            f"epoch_{epoch}.pth", seed=epoch, epoch=epoch, step=epoch * 50, val_loss=abs(epoch - 4) + 0.5,
            val_acc=1 / (1 + abs(epoch - 6)),
        )  # fmt: skip
    save("model_best.pth", seed=99, epoch=2, step=100)
    save("pretrained.pth", seed=98, optimizer=False)
    (tmp_path / "epoch_11.pth").write_bytes(b"PK\x03\x04 cut off")
    (tmp_path / "epoch_12.pth.part").write_bytes(b"x")
    (tmp_path / "stats.pkl").write_bytes(pickle.dumps({"seen": 3}))
    (tmp_path / "log.txt").write_text("kept")
    return Run(tmp_path)


def kept(pruning) -> set[str]:
    return {entry.name for entry, _ in pruning.kept}


ALWAYS = {
    "epoch_4.pth",
    "epoch_6.pth",
    "epoch_10.pth",
    "model_best.pth",
    "pretrained.pth",
    "epoch_11.pth",
    "epoch_12.pth.part",
}


def test_nothing_is_touched_unless_told(run, tmp_path) -> None:
    before = sorted(os.listdir(tmp_path))
    plan = run.prune(keep_last=2)
    assert not plan.done
    assert kept(plan) == ALWAYS | {"epoch_9.pth"}
    assert plan.freed == sum(entry.size for entry in plan.removed) > 0
    assert sorted(os.listdir(tmp_path)) == before


def test_told_it_removes_what_it_said(run, tmp_path) -> None:
    plan = run.prune(keep_last=2)
    done = run.prune(keep_last=2, yes=True)
    assert done.done and done.removed == plan.removed
    assert set(os.listdir(tmp_path)) == kept(plan) | {"stats.pkl", "log.txt"}
    assert {entry.name for entry in run} == kept(plan), "the run was listed again"
    assert run.prune(keep_last=2).removed == ()


def test_rules_add_up(run) -> None:
    plan = run.prune(keep_last=1, keep_best=3, metric="val_loss", every=5)
    periodic = {
        name
        for name in kept(plan)
        if name.startswith("epoch_") and name not in {"epoch_11.pth", "epoch_12.pth.part"}
    }
    assert periodic == {"epoch_10.pth", "epoch_3.pth", "epoch_4.pth", "epoch_5.pth"}, (
        "the best by val_acc was not asked for"
    )
    reasons = {entry.name: reason for entry, reason in plan.kept}
    assert reasons["epoch_4.pth"] == "the best by val_loss"
    assert reasons["epoch_5.pth"] == "number 3 by val_loss"
    assert reasons["epoch_11.pth"] == "damaged: look at it first"
    assert reasons["pretrained.pth"] == "no counter inside or in its name"


def test_even_keeping_none_keeps_the_latest_and_the_best(run) -> None:
    assert kept(run.prune(keep_last=0)) == ALWAYS


def test_what_cannot_be_meant_is_refused(run) -> None:
    with pytest.raises(UsageError, match="no rule says what to keep"):
        run.prune(yes=True)
    with pytest.raises(UsageError, match="keep_best needs to know by which metric"):
        run.prune(keep_best=2)
    with pytest.raises(UsageError, match="keep_last=-1"):
        run.prune(keep_last=-1)


def test_directories_disappear_at_once(tmp_path, monkeypatch) -> None:
    with ocp.CheckpointManager(tmp_path) as manager:
        for step in (1, 2, 3):
            manager.save(step, args=ocp.args.StandardSave({"params": {"w": np.full(3, step, np.float32)}}))
    seen: list[list[str]] = []

    def stopped(path: str) -> None:
        seen.append(sorted(name for name in os.listdir(tmp_path) if not name.startswith(".")))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sink, "_remove", stopped)
        with pytest.raises(KeyboardInterrupt):
            Run(tmp_path).prune(keep_last=2, yes=True)
    assert seen == [["2", "3"]], "the name is gone before the first file is"
    assert [entry.name for entry in Run(tmp_path) if entry.is_whole] == ["2", "3"]
    Run(tmp_path).prune(keep_last=1, yes=True)
    assert [entry.name for entry in Run(tmp_path) if entry.is_whole] == ["3"]
    with ocp.CheckpointManager(tmp_path) as manager:
        assert list(manager.all_steps()) == [3]


def test_links_keep_what_they_point_to(save, tmp_path) -> None:
    for epoch in (1, 2, 3):
        save(f"epoch_{epoch}.pth", seed=epoch, epoch=epoch)
    os.link(tmp_path / "epoch_1.pth", tmp_path / "best.pth")
    (tmp_path / "chosen.pth").symlink_to("epoch_2.pth")
    done = Run(tmp_path).prune(keep_last=1, yes=True)
    assert set(os.listdir(tmp_path)) == {"best.pth", "chosen.pth", "epoch_2.pth", "epoch_3.pth"}
    assert [entry.name for entry in done.removed] == ["epoch_1.pth"]
    assert done.freed == 0, "its bytes are still there, under the name of the best"
    assert torch.load(tmp_path / "best.pth")["epoch"] == 1


def test_what_changed_meanwhile_is_not_removed(save, tmp_path) -> None:
    for epoch in (1, 2):
        save(f"epoch_{epoch}.pth", seed=epoch, epoch=epoch)
    run = Run(tmp_path)
    assert len(run) == 2
    with open(tmp_path / "epoch_1.pth", "ab") as file:
        file.write(b"more")
    with pytest.raises(TargetError, match="changed since it was listed"):
        run.prune(keep_last=1, yes=True)
    assert (tmp_path / "epoch_1.pth").exists()


def test_two_formats_under_one_run(save, tmp_path) -> None:
    from ckpt_core import convert

    convert(save("epoch_1.pth", epoch=1), tmp_path / "epoch_1.orbax", to="orbax")
    save("epoch_2.pth", seed=2, epoch=2)
    Run(tmp_path).prune(keep_last=1, yes=True)
    assert os.listdir(tmp_path) == ["epoch_2.pth"]
    shutil.rmtree(tmp_path)
