"""Pruning: a dry run unless told, and never the latest, the best, or what was not recognised."""

from __future__ import annotations

import json
import os
import pickle
import shutil

import numpy as np
import orbax.checkpoint as ocp
import pytest
import torch
from safetensors.torch import save_file

from ckpt_core import Run, sink
from ckpt_core.errors import TargetError, UsageError
from ckpt_core.runs.rows import rows_of

from .conftest import trained


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


def test_links_keep_the_directories_that_they_point_to(tmp_path) -> None:
    with ocp.CheckpointManager(tmp_path / "run") as manager:
        for step in (1, 2, 3, 4):
            manager.save(step, args=ocp.args.StandardSave({"params": {"w": np.full(3, step, np.float32)}}))
    (tmp_path / "run" / "best").symlink_to("1")
    (tmp_path / "run" / "a_link").symlink_to("2", target_is_directory=True)
    run = Run(tmp_path / "run")
    assert {entry.name: entry.linked for entry in run} == {
        "1": ("best",), "best": ("1",), "2": ("a_link",), "a_link": ("2",), "3": (), "4": ()
    }  # fmt: skip
    assert [(row.entry.name, row.copies) for row in rows_of(run)][:2] == [
        ("1", ("best (link)",)),
        ("2", ("a_link (link)",)),
    ]
    done = run.prune(keep_last=1, yes=True)
    assert [entry.name for entry in done.removed] == ["3"]
    assert (tmp_path / "run" / "best" / "_CHECKPOINT_METADATA").exists()


def test_what_lies_outside_of_the_run_stays(save, tmp_path) -> None:
    for epoch in (1, 2, 3):
        save(f"run/epoch_{epoch}.pth", seed=epoch, epoch=epoch)
        save(f"other/epoch_{epoch}.pth", seed=epoch + 10, epoch=epoch)
    (tmp_path / "run" / "linked").symlink_to(tmp_path / "other", target_is_directory=True)
    (tmp_path / "entrance").symlink_to(tmp_path / "run", target_is_directory=True)
    done = Run(tmp_path / "entrance").prune(keep_last=1, yes=True)
    reasons = {entry.name: reason for entry, reason in done.kept}
    assert reasons["linked/epoch_1.pth"] == "a link leads out of the run to it"
    assert [entry.name for entry in done.removed] == ["epoch_1.pth", "epoch_2.pth"]
    assert len(os.listdir(tmp_path / "other")) == 3


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


# Series: what replaces one another, and what does not.


def test_each_run_below_a_directory_keeps_its_own(save, tmp_path) -> None:
    for run, last in (("a", 3), ("b", 9), ("fold_0/checkpoints", 2), ("fold_1/checkpoints", 8)):
        for epoch in range(1, last + 1):
            save(f"{run}/epoch_{epoch}.pth", seed=epoch, epoch=epoch, val_loss=abs(epoch - 2) + 0.5)
    names = kept(Run(tmp_path).prune(keep_last=1))
    assert names == {
        "a/epoch_2.pth", "a/epoch_3.pth", "b/epoch_2.pth", "b/epoch_9.pth", "fold_0/checkpoints/epoch_2.pth",
        "fold_1/checkpoints/epoch_2.pth", "fold_1/checkpoints/epoch_8.pth",
    }  # fmt: skip


def test_two_networks_of_one_training_stay_together(save, tmp_path) -> None:
    for epoch in (5, 10, 15):
        for name in (f"generator_{epoch}.pth", f"discriminator_{epoch}.pth", f"{epoch}_net_G.pth"):
            save(name, seed=epoch, epoch=epoch)
    Run(tmp_path).prune(keep_last=1, yes=True)
    assert set(os.listdir(tmp_path)) == {"generator_15.pth", "discriminator_15.pth", "15_net_G.pth"}


def test_the_parts_of_one_checkpoint_stay(save, tmp_path) -> None:
    names = [
        "model-00001-of-00003.safetensors.pt", "model-00002-of-00003.pt", "consolidated.00.pth", "consolidated.01.pth",
        "layer_00-model_00-model_states.pt", "layer_01-model_00-model_states.pt", "weights_rank_0.pth", "weights_rank_1.pth", "shard_1.pth", "shard_2.pth",
    ]  # fmt: skip
    for seed, name in enumerate(names):
        save(name, seed=seed)
    plan = Run(tmp_path).prune(keep_last=0)
    assert plan.removed == ()
    assert {reason for _, reason in plan.kept} == {"a part of a checkpoint in several files"}


def test_a_directory_of_ranks_goes_as_a_whole(save, tmp_path) -> None:
    for step in (7, 9):
        for name in ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt"):
            save(f"global_step{step}/{name}", seed=step, step=step)
    plan = Run(tmp_path).prune(keep_last=1, yes=True)
    assert [entry.name for entry in plan.removed] == ["global_step7"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["global_step9"]


def test_a_number_that_says_which_one_is_no_counter(save, tmp_path) -> None:
    for seed, name in enumerate(
        ["resnet_50.pth", "resnet_101.pth", "vit_fold_0.pth", "vit_fold_1.pth", "run_3.pth"]
    ):
        save(name, seed=seed, epoch=90, step=9000 + seed)
    plan = Run(tmp_path).prune(keep_last=0)
    reasons = {entry.name: reason for entry, reason in plan.kept}
    assert plan.removed == () and reasons["resnet_50.pth"] == "the number in its name may be no counter"
    for epoch in (1, 2):
        save(f"unet_{epoch}.pth", seed=epoch, epoch=epoch)
    assert [entry.name for entry in Run(tmp_path).prune(keep_last=0).removed] == ["unet_1.pth"]


def test_what_the_trainer_calls_its_best_stays(tmp_path) -> None:
    """A metric of which no name tells the direction; the latest of the trainer's files knows."""
    for epoch, quality, best in ((1, 0.9, 1), (2, 0.5, 2), (3, 0.7, 2), (4, 0.6, 2)):
        model, optimizer = trained(epoch)
        watching = {
            "monitor": "quality", "current_score": torch.tensor(quality), "best_model_score": torch.tensor(0.5),
            "best_model_path": f"/elsewhere/epoch={best}.ckpt",
        }  # fmt: skip
        state = {
            "epoch": epoch, "global_step": 10 * epoch, "pytorch-lightning_version": "2.6.0",
            "state_dict": model.state_dict(), "optimizer_states": [optimizer.state_dict()],
            "callbacks": {"Other": {"monitor": None, "best_model_path": "epoch=1.ckpt"}, "ModelCheckpoint": watching},
        }  # fmt: skip
        torch.save(state, tmp_path / f"epoch={epoch}.ckpt")
    plan = Run(tmp_path).prune(keep_last=1)
    reasons = {entry.name: reason for entry, reason in plan.kept}
    assert reasons == {"epoch=2.ckpt": "the best, says epoch=4.ckpt", "epoch=4.ckpt": "the latest"}
    assert [entry.name for entry in plan.removed] == ["epoch=1.ckpt", "epoch=3.ckpt"]


def test_what_the_hugging_face_trainer_calls_its_best_stays(tmp_path) -> None:
    for step in (100, 200, 300):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file({"w": torch.full((3,), float(step))}, folder / "model.safetensors")
        torch.save(trained(step)[1].state_dict(), folder / "optimizer.pt")
        best = {"best_metric": 0.9, "best_model_checkpoint": "out/checkpoint-100", "best_global_step": 100}
        trainer = {"global_step": step, "epoch": step / 100, "log_history": [], **best}
        (folder / "trainer_state.json").write_text(json.dumps(trainer))
    plan = Run(tmp_path).prune(keep_last=1)
    reasons = {entry.name: reason for entry, reason in plan.kept}
    assert reasons == {"checkpoint-100": "the best, says checkpoint-300", "checkpoint-300": "the latest"}


def test_the_latest_that_can_be_resumed_from_stays(save, tmp_path) -> None:
    for epoch in (1, 2, 3):
        save(f"epoch_{epoch}.pth", seed=epoch, epoch=epoch)
    save("epoch_4.pth", seed=4, epoch=4, optimizer=False)
    plan = Run(tmp_path).prune(keep_last=1)
    reasons = {entry.name: reason for entry, reason in plan.kept}
    assert reasons == {"epoch_3.pth": "the latest that can be resumed from", "epoch_4.pth": "the latest"}


def test_a_directory_that_holds_others_stays(tmp_path) -> None:
    """A trainer's directory with its final model in it is a checkpoint itself, with its steps below."""

    def directory(path, step: int, optimizer: bool) -> None:
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.json").write_text("{}")
        (path / "trainer_state.json").write_text(
            f'{{"global_step": {step}, "epoch": {step}.0, "log_history": []}}'
        )
        torch.save({"w": torch.full((3,), float(step))}, path / "pytorch_model.bin")
        if optimizer:
            torch.save(torch.optim.SGD([torch.zeros(3)], lr=0.1).state_dict(), path / "optimizer.pt")

    for root in (tmp_path / "out", tmp_path / "more" / "checkpoint-0"):
        for step in (1, 2, 3):
            directory(root / f"checkpoint-{step}", step, True)
        directory(root, 2, False)
    plan = Run(tmp_path / "out").prune(keep_last=1)
    assert {entry.name: reason for entry, reason in plan.kept} == {
        ".": "other checkpoints lie in it", "checkpoint-3": "the latest",
    }  # fmt: skip
    Run(tmp_path / "more").prune(keep_last=1, yes=True)
    left = set(os.listdir(tmp_path / "more" / "checkpoint-0"))
    assert left == {"checkpoint-3", "config.json", "trainer_state.json", "pytorch_model.bin"}


def test_a_step_with_somebody_elses_files_in_it_stays(tmp_path):
    with ocp.CheckpointManager(tmp_path) as manager:
        for step in (1, 2, 3):
            manager.save(step, args=ocp.args.StandardSave({"params": {"w": np.full(3, step, np.float32)}}))
        manager.wait_until_finished()
    (tmp_path / "1" / "notes.txt").write_text("kept")
    pruning = Run(tmp_path).prune(keep_last=1, yes=True)
    assert [entry.name for entry in pruning.removed] == ["2"]
    reasons = {entry.name: why for entry, why in pruning.kept}
    assert reasons["1"] == "holds what is no part of it: notes.txt"
    assert (tmp_path / "1" / "notes.txt").read_text() == "kept"
