"""Listing runs of every format, mixed: counters, metrics, order, roles, duplicates, what is damaged."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
from pathlib import Path

import flax.serialization
import numpy as np
import orbax.checkpoint as ocp
import pandas
import pytest
import torch
from safetensors.torch import save_file

from ckpt_core import Run
from ckpt_core.errors import CheckpointNotFoundError, UsageError
from ckpt_core.runs import duplicates
from ckpt_core.runs.listing_text import listing_text
from ckpt_core.runs.scan import is_one_checkpoint, scan

from .conftest import trained


def names(run: Run) -> list[str]:
    return [entry.name for entry in run]


def test_numbers_sort_as_numbers(save, tmp_path) -> None:
    for epoch in (10, 9, 100, 1):
        save(f"checkpoint_epoch_{epoch}.pth", epoch=epoch, seed=epoch)
    assert names(Run(tmp_path)) == [f"checkpoint_epoch_{epoch}.pth" for epoch in (1, 9, 10, 100)]


def test_inside_comes_first_and_names_fill_in(save, tmp_path) -> None:
    save("checkpoint_epoch_7-val_loss=0.5.pth", epoch=6, step=600, val_loss=0.4567)
    save("weights_epoch_8-val_loss=0.25.pth", optimizer=False)
    first, second = sorted(Run(tmp_path), key=lambda entry: entry.name)
    assert (first.epoch, first.step, first.metrics) == (6, 600, {"val_loss": 0.4567})
    assert first.sources["epoch"] == first.sources["val_loss"] == "inside"
    assert (second.epoch, second.step, second.metrics) == (8, None, {"val_loss": 0.25})
    assert second.sources["epoch"] == second.sources["val_loss"] == "name"
    assert second.sources["time"] == "disk"


def test_formats_and_folders_mixed(save, tmp_path) -> None:
    save("checkpoints/checkpoint_epoch0001_step000100_20251122_065455.pt", epoch=1, step=100)
    options = ocp.CheckpointManagerOptions(best_fn=lambda metrics: metrics["val_loss"], best_mode="min")
    with ocp.CheckpointManager(tmp_path / "orbax", options=options) as manager:
        for step in (200, 1000):
            state = {"params": {"w": np.full((3, 4), step, np.float32)}, "step": step}
            manager.save(step, args=ocp.args.StandardSave(state), metrics={"val_loss": 1.0 / step})
    (tmp_path / "flax").mkdir()
    for step in (300, 2000):
        state = {"params": {"w": np.full(3, step, np.float32)}, "step": step}
        (tmp_path / "flax" / f"checkpoint_{step}").write_bytes(flax.serialization.to_bytes(state))
    model, optimizer = trained(5)
    folder = tmp_path / "hf" / "checkpoint-500"
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 500, "epoch": 2.5}))
    (folder / "config.json").write_text(json.dumps({"hidden_size": 5}))
    state = {"params": {"w": np.ones(3, np.float32)}, "step": 400}
    (tmp_path / "dense_reg_epoch_5.pkl").write_bytes(pickle.dumps(state))
    run = Run(tmp_path)
    found = {entry.name: entry for entry in run}
    assert names(run) == [
        "checkpoints/checkpoint_epoch0001_step000100_20251122_065455.pt",
        "orbax/200",
        "flax/checkpoint_300",
        "dense_reg_epoch_5.pkl",
        "hf/checkpoint-500",
        "orbax/1000",
        "flax/checkpoint_2000",
    ]
    assert {entry.format for entry in run} == {"torch", "orbax", "msgpack", "pickle", "directory"}
    assert found["orbax/200"].metrics == {"val_loss": 1.0 / 200}
    assert found["hf/checkpoint-500"].has_optimizer
    assert found["hf/checkpoint-500"].step == 500
    assert found["dense_reg_epoch_5.pkl"].epoch == 5
    assert run.best("val_loss").name == "orbax/1000"
    assert run.latest().name == "flax/checkpoint_2000"


def test_lightning_versions(save, tmp_path) -> None:
    for version, epoch in ((0, 3), (1, 11)):
        save(
            f"lightning_logs/version_{version}/checkpoints/epoch={epoch}-step={epoch * 100}.ckpt", seed=epoch
        )
    run = Run(tmp_path)
    assert [(entry.epoch, entry.step) for entry in run] == [(3, 300), (11, 1100)]


def test_a_trainer_directory_that_is_a_model_too(tmp_path) -> None:
    """Trainers save the final model beside its checkpoint-N."""
    for folder, seed in ((tmp_path / "out", 1), (tmp_path / "out" / "checkpoint-5", 2)):
        folder.mkdir()
        save_file(trained(seed)[0].state_dict(), folder / "model.safetensors")
        (folder / "config.json").write_text("{}")
    assert sorted(names(Run(tmp_path / "out"))) == [".", "checkpoint-5"]
    assert sorted(names(Run(tmp_path))) == ["out", "out/checkpoint-5"]


def test_a_path_that_is_one_checkpoint(save, tmp_path) -> None:
    path = save("epoch_3.pth", epoch=3)
    save("epoch_4.pth", epoch=4)
    assert names(Run(path)) == ["epoch_3.pth"]


def test_damaged_and_unfinished_ones_are_shown_and_never_chosen(save, tmp_path) -> None:
    whole = save("epoch_1.pth", epoch=1, val_loss=0.5)
    data = save("epoch_3.pth", epoch=3, val_loss=0.1).read_bytes()
    (tmp_path / "epoch_3.pth").write_bytes(data[: len(data) // 2])
    (tmp_path / "epoch_2.pth").write_bytes(b"")
    (tmp_path / "epoch_4.pth.part").write_bytes(data)
    (tmp_path / f".epoch_5.pth.{'0' * 12}.ckpt-tmp").write_bytes(data)
    (tmp_path / "6.orbax-checkpoint-tmp-123").mkdir()
    (tmp_path / "gone.pth").symlink_to(tmp_path / "nowhere.pth")
    (tmp_path / "zero.pth").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "notes.txt").write_text("no checkpoint")
    (tmp_path / "history.pkl").write_bytes(pickle.dumps({"loss": [1.0, 2.0]}))
    run = Run(tmp_path)
    states = {entry.name: entry.state for entry in run}
    assert states == {
        "epoch_1.pth": "complete",
        "epoch_2.pth": "damaged",
        "epoch_3.pth": "damaged",
        "epoch_4.pth.part": "unfinished",
        f".epoch_5.pth.{'0' * 12}.ckpt-tmp": "unfinished",
        "6.orbax-checkpoint-tmp-123": "unfinished",
        "gone.pth": "unfinished",
        "zero.pth": "unfinished",
    }
    assert all(entry.reason for entry in run if entry.state != "complete")
    assert run.latest().path == str(whole)
    selection = run.select()
    assert selection.rule == "latest"
    assert any(text.startswith("epoch_3.pth: damaged") for text in selection.passed_over)


def test_nan_and_missing_metrics_are_never_best(save, tmp_path) -> None:
    save("epoch_1.pth", epoch=1, seed=1, val_loss=0.5, val_acc=0.25)
    save("epoch_2.pth", epoch=2, seed=2, val_loss=float("nan"), val_acc=float("inf"))
    save("epoch_3.pth", epoch=3, seed=3)
    run = Run(tmp_path)
    assert run.best("val_loss").epoch == run.best("val_acc").epoch == 1
    rows = run.metrics().records()
    assert math.isnan(rows[1]["val_loss"]) and rows[2]["val_loss"] is None
    save("epoch_1.pth", epoch=1, val_loss=float("nan"))
    run.refresh()
    with pytest.raises(
        CheckpointNotFoundError, match=r"val_loss is not finite in epoch_1\.pth, epoch_2\.pth"
    ):
        run.best("val_loss")


def test_best_knows_the_direction_or_is_told(save, tmp_path) -> None:
    for epoch, eer, acc, other in ((1, 0.2, 0.9, 1.0), (2, 0.1, 0.8, 3.0), (3, 0.1, 0.95, 2.0)):
        save(
            f"epoch_{epoch}.pth", seed=epoch, epoch=epoch, metrics={"val_eer": eer, "val_acc": acc, "odd": other},
            best_val_eer=0.1,
        )  # fmt: skip
    run = Run(tmp_path)
    assert run.best("val_eer").epoch == 2, "of equal ones the first"
    assert run.best("val_acc").epoch == 3
    assert run.best("odd", mode="min").epoch == 1
    with pytest.raises(UsageError, match="does not tell whether lower or higher is better"):
        run.best("odd")
    with pytest.raises(UsageError, match="best_val_eer is the best value so far"):
        run.best("best_val_eer")
    with pytest.raises(
        CheckpointNotFoundError, match=r"(?s)no checkpoint has the metric 'val_err'.*Did you mean val_eer"
    ):
        run.best("val_err")
    assert [entry.running_bests for entry in run] == [{"best_val_eer": 0.1}] * 3
    assert "best_val_eer" not in run.latest().metrics


def test_metrics_that_are_tensors(save, tmp_path) -> None:
    save("epoch_1.pth", epoch=1, metrics={"val": {"acc": torch.tensor(0.5)}, "name": "x", "flag": True})
    assert Run(tmp_path).latest().metrics == {"val/acc": 0.5}


def test_of_a_list_with_a_number_for_each_epoch_the_last_is_the_checkpoints(save, tmp_path) -> None:
    losses = [1.0, 0.5, torch.tensor(0.25)]
    metrics = {"val": {"acc": [0.1, 0.3, 0.2, 0.4]}, "class_acc": [0.5] * 10}
    save("epoch_3.pth", epoch=3, train_losses=losses, metrics=metrics)
    assert Run(tmp_path).latest().metrics == {"train_losses": 0.25, "val/acc": 0.4}


def test_metrics_as_a_table(save, tmp_path) -> None:
    save("epoch_1.pth", epoch=1, seed=1, metrics={"val": {"loss": 0.1 + 0.2}}, best_acc=0.5)
    save("epoch_2.pth", epoch=2, seed=2, history=[1.0, 2.0])
    table = Run(tmp_path).metrics()
    assert table.columns == ("name", "epoch", "step", "time", "state", "val/loss", "best_acc")
    assert table.records()[0]["val/loss"] == 0.1 + 0.2
    lines = table.csv().splitlines()
    assert lines[0] == "name,epoch,step,time,state,val/loss,best_acc"
    assert lines[1].startswith("epoch_1.pth,1,,") and lines[1].endswith(",complete,0.30000000000000004,0.5")
    assert lines[2].endswith(",complete,,")


def test_metrics_as_a_dataframe(save, tmp_path) -> None:
    save("epoch_1.pth", epoch=1, val_loss=0.25)
    frame = Run(tmp_path).metrics().dataframe()
    assert frame.loc[0, "val_loss"] == 0.25
    assert isinstance(frame.loc[0, "time"], pandas.Timestamp)


# Duplicates.


def test_duplicates_are_linked(save, tmp_path) -> None:
    first = save("epoch_1.pth", epoch=1, seed=1)
    save("epoch_2.pth", epoch=2, seed=2)
    os.link(first, tmp_path / "best.pth")
    shutil.copy(tmp_path / "epoch_2.pth", tmp_path / "final.pth")
    (tmp_path / "last.pth").symlink_to("epoch_2.pth")
    save("other.pth", epoch=2, seed=3)  # same counters, other weights
    found = {entry.name: entry for entry in Run(tmp_path)}
    assert found["epoch_1.pth"].same_as == found["epoch_1.pth"].linked == ("best.pth",)
    assert set(found["epoch_2.pth"].same_as) == {"final.pth", "last.pth"}
    assert found["epoch_2.pth"].linked == ("last.pth",)
    assert found["other.pth"].same_as == ()


def test_duplicates_take_one_row(save, tmp_path) -> None:
    for name in ("epoch_3.pth", "epoch_4.pth"):
        save(name, epoch=3)
    lines = listing_text(Run(tmp_path)).splitlines()[:-1]
    assert [line.split() for line in lines if "epoch_4" in line] == [["=", "epoch_4.pth"]]
    assert sum("epoch_3.pth" in line for line in lines) == 1


def test_checkpoints_without_a_common_counter_compare_by_time(save, tmp_path) -> None:
    save("a_epoch_3.pth", epoch=3)
    save("b.pth", seed=1, step=7)
    assert Run(tmp_path).select().reason == "the newest of 2 by time; they have no counter in common"


def test_duplicates_across_formats(save, tmp_path) -> None:
    from ckpt_core import convert

    convert(save("epoch_1.pth", epoch=1, step=5), tmp_path / "epoch_1.orbax", to="orbax")
    found = {entry.name: entry for entry in Run(tmp_path)}
    assert found["epoch_1.pth"].same_as == ("epoch_1.orbax",)


def test_weights_alone_are_no_duplicate_of_the_whole(save, tmp_path) -> None:
    save("epoch_1.pth", epoch=1)
    save("weights_epoch_1.pth", epoch=1, optimizer=False)
    assert all(entry.same_as == () for entry in Run(tmp_path))


def test_a_difference_outside_of_the_sample_is_found(tmp_path) -> None:
    for name, value in (("a.pth", 0.0), ("b.pth", 1.0)):
        weight = torch.zeros(5000)
        weight[1000] = value  # the start, the middle and the end are sampled
        torch.save({"model_state_dict": {"w": weight}, "epoch": 1}, tmp_path / name)
    assert all(entry.same_as == () for entry in Run(tmp_path))


def test_what_is_too_large_to_compare_is_said(save, tmp_path) -> None:
    shutil.copy(save("a.pth", epoch=1), tmp_path / "b.pth")
    _, notes = duplicates.with_duplicates(Run(tmp_path).entries, limit=100)
    assert [note.partition(":")[0] for note in notes] == [
        "2 checkpoints look alike and were too large to compare"
    ]


# Choosing.


def test_select_tries_its_rules_in_order(save, tmp_path) -> None:
    for epoch in (1, 2, 3):
        save(f"epoch_{epoch}.pth", epoch=epoch, seed=epoch, val_loss=(0.3, 0.1, 0.2)[epoch - 1])
    save("model_final.pth", epoch=3, seed=4)
    run = Run(tmp_path)
    assert run.select(path="epoch_1.pth", prefer="final", best="val_loss").entry.name == "epoch_1.pth"
    assert run.select(path=tmp_path / "epoch_1.pth").rule == "path"
    by_name = run.select(path="none.pth", prefer=["*_missing.pth", "final"], best="val_loss")
    assert (by_name.entry.name, by_name.rule) == ("model_final.pth", "prefer")
    assert len(by_name.passed_over) == 2 and "looked at" in by_name.passed_over[0]
    best = run.select(prefer="*_missing.pth", best="val_loss")
    assert (best.entry.epoch, best.rule, best.reason) == (2, "best", "val_loss = 0.1 is the lowest of 3")
    latest = run.select(best="accuracy")
    assert (latest.entry.epoch, latest.rule) == (3, "latest")
    assert "no checkpoint has the metric 'accuracy'" in latest.passed_over[0]


def test_the_latest_is_one_that_can_be_resumed_from(save, tmp_path) -> None:
    save("epoch_9.pth", epoch=9, step=90)
    save("best.pth", epoch=9, step=90, optimizer=False)
    assert Run(tmp_path).latest().name == "epoch_9.pth"


def test_comment_filters(save, tmp_path) -> None:
    save("checkpoint_epoch_1_warm.pth", epoch=1)
    save("checkpoint_epoch_2_warmup.pth", epoch=2)
    assert names(Run(tmp_path, comment="warm")) == ["checkpoint_epoch_1_warm.pth"]


def test_an_empty_directory_says_where_it_looked_and_what_is_near(save, tmp_path) -> None:
    save("runs/exp1/epoch_1.pth", epoch=1)
    (tmp_path / "runs" / "exp2").mkdir()
    with pytest.raises(CheckpointNotFoundError, match="holds no checkpoint") as caught:
        Run(tmp_path / "runs" / "exp2").latest()
    text = str(caught.value)
    assert f"Looked in {tmp_path}/runs/exp2." in text
    assert f"Nearest directories that have checkpoints: {tmp_path}/runs/exp1." in text
    assert f"`ckpt ls {tmp_path}/runs/exp1`" in text
    with pytest.raises(CheckpointNotFoundError, match="no such directory"):
        Run(tmp_path / "runs" / "exp3").latest()
    assert list(Run(tmp_path / "runs" / "exp3")) == []


def test_runs_are_found_in_the_usual_places(save, tmp_path, monkeypatch) -> None:
    save("root/exp/epoch_1.pth", epoch=1)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("CKPT_ROOT", str(tmp_path / "root"))
    assert Run("exp").latest().path == str(tmp_path / "root" / "exp" / "epoch_1.pth")


def test_a_file_of_any_arrays_is_the_latest_only_where_there_is_nothing_else(save, tmp_path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "samples.pt")
    assert Run(tmp_path).latest().name == "samples.pt"
    path = save("model.pth", optimizer=False)
    os.utime(path, (1e9, 1e9))
    chosen = Run(tmp_path).select()
    assert chosen.entry.name == "model.pth"
    assert chosen.passed_over == ("samples.pt: not recognised",)


def test_files_of_other_programs_are_not_listed_as_damaged(save, tmp_path) -> None:
    """Notes whose first letters are opcodes of pickles, a truncated map, and what others left behind."""
    save("tmp_runs/exp/epoch_1.pth", epoch=1)
    (tmp_path / "2.39.1.txt").write_text("Git v2.39.1 Release Notes\n=========================\n")
    cut = flax.serialization.to_bytes({"params": {"w": np.zeros(100)}})[:60]
    (tmp_path / "vim.mo").write_bytes(cut)
    assert all(is_one_checkpoint(str(tmp_path / name)) for name in ("2.39.1.txt", "vim.mo"))
    (tmp_path / "tmp.conf").write_text("d /tmp 1777 root root 10d\n")
    (tmp_path / "movie.mp4.part").write_bytes(b"x")
    (tmp_path / "tmp_images").mkdir()
    assert names(Run(tmp_path)) == ["tmp_runs/exp/epoch_1.pth"]
    (tmp_path / "checkpoint_7").write_bytes(cut)
    (tmp_path / "tmp-checkpoint-8").mkdir()
    (tmp_path / "tmp_model.pth").write_bytes(b"x")
    states = {entry.name: entry.state for entry in Run(tmp_path)}
    assert states == {
        "tmp_runs/exp/epoch_1.pth": "complete", "checkpoint_7": "damaged", "tmp-checkpoint-8": "unfinished",
        "tmp_model.pth": "unfinished",
    }  # fmt: skip


def test_what_has_no_weights_is_passed_over_for_that(save, tmp_path) -> None:
    save("model_3.pt", epoch=3)
    torch.save(trained(0)[1].state_dict(), tmp_path / "optim_4.pt")
    chosen = Run(tmp_path).select(path="optim_4.pt")
    assert chosen.entry.name == "model_3.pt"
    assert chosen.passed_over == ("path='optim_4.pt': holds no weights", "optim_4.pt: holds no weights")


def test_links_that_lead_round_end(save, tmp_path) -> None:
    save("a/epoch_1.pth", epoch=1)
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert names(Run(tmp_path)) == ["a/epoch_1.pth"]
    notes: list[str] = []
    assert list(scan(str(tmp_path), limit=1, notes=notes)) == []
    assert notes == ["only the first 1 names were looked at; name a directory further down"]


# Notebooks.


def test_html_escapes_what_names_and_files_say(save, tmp_path: Path) -> None:
    save("<img src=x>_epoch_1.pth", epoch=1, metrics={"<script>loss": 1.0}, best_loss=2.0)
    text = Run(tmp_path)._repr_html_() + Run(tmp_path).metrics()._repr_html_()
    assert "<img" not in text and "<script" not in text
    assert "&lt;img src=x&gt;_epoch_1.pth" in text and "&lt;script&gt;loss" in text
    assert "best so far: best_loss = 2" in text


def test_a_saved_state_with_the_weights_of_adapters_is_one_checkpoint(tmp_path) -> None:
    folder = tmp_path / "checkpoint-10"
    folder.mkdir()
    net = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(net.parameters())
    save_file({"unet.to_q.lora_A.weight": torch.ones(2, 4)}, folder / "pytorch_lora_weights.safetensors")
    torch.save(optimizer.state_dict(), folder / "optimizer.bin")
    (folder / "random_states_0.pkl").write_bytes(pickle.dumps({"step": 10}))
    (entry,) = Run(tmp_path)
    assert (entry.name, entry.step, entry.has_weights, entry.has_optimizer) == (
        "checkpoint-10",
        10,
        True,
        True,
    )
