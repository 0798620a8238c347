"""Resuming: every combination of the truth table, epochs counted by evidence, and what else a plan says."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import torch
from flax.training.train_state import TrainState
from layouts import trees

from ckpt_core import Run, plan_resume, save_checkpoint
from ckpt_core.errors import CheckpointNotFoundError, DamagedFileError, UsageError
from ckpt_core.runs.truth import TRUTH_TABLE, truth_table_text

from .conftest import trained

FLAGS = ("resume", "fresh_start", "auto_resume", "model_path")
TESTS = Path(__file__).resolve().parents[1]
DOCS = TESTS.parent / "docs" / "runs.md"
GOLDEN = TESTS / "golden" / "lightning" / "progress"
LIGHTNING = json.loads((GOLDEN / "resumes.json").read_text())
"""The epoch and the batch with which Lightning itself goes on from a file of its own."""


@pytest.fixture
def runs(save, tmp_path) -> dict[str, Path]:
    """A run with two whole checkpoints, an empty one, and a checkpoint elsewhere."""
    for epoch in (1, 2):
        save(
            f"run/checkpoint_epoch_{epoch}.pth",
            seed=epoch,
            epoch=epoch,
            step=10 * epoch,
            config={"lr": 0.1, "epochs": 5},
        )
    (tmp_path / "empty").mkdir()
    other = save("other/pretrained.pth", seed=9, epoch=7, step=70)
    return {"run": tmp_path / "run", "empty": tmp_path / "empty", "path": other}


# The table.


def test_the_table_has_every_combination_once() -> None:
    given = [(r.resume, r.fresh_start, r.auto_resume, r.model_path) for r in TRUTH_TABLE]
    assert sorted(given) == sorted(itertools.product([False, True], repeat=4))


def test_the_docs_show_the_table() -> None:
    assert truth_table_text() in DOCS.read_text()


@pytest.mark.parametrize(
    "rule", TRUTH_TABLE, ids=lambda r: "+".join(f for f in FLAGS if getattr(r, f)) or "nothing"
)
@pytest.mark.parametrize("where", ["run", "empty"])
def test_every_combination(rule, where, runs) -> None:
    flags = {name: getattr(rule, name) for name in FLAGS[:3]}
    model_path = runs["path"] if rule.model_path else None
    newest = str(runs["run"] / "checkpoint_epoch_2.pth")

    def plan():
        return plan_resume(runs[where], **flags, model_path=model_path, epochs=9)

    if rule.outcome == "refused":
        with pytest.raises(UsageError) as caught:
            plan()
        assert caught.value.reason == rule.meaning.replace("`", "").rstrip(".")
        return
    found = plan()
    expected = {
        "fresh": ("fresh", None),
        "weights": ("weights", str(runs["path"])),
        "resume": ("resume", str(runs["path"])),
        "auto": ("resume", newest) if where == "run" else ("fresh", None),
        "auto or weights": ("resume", newest) if where == "run" else ("weights", str(runs["path"])),
    }[rule.outcome]
    assert (found.action, found.path) == expected
    if found.action == "resume":
        done, step = (2, 20) if expected[1] == newest else (7, 70)
        assert found.optimizer and (found.epochs_done, found.epoch, found.step) == (done, done + 1, step)
        assert found.remaining == 9 - done
    else:
        assert not found.optimizer and (found.epochs_done, found.epoch, found.step) == (0, 1, 0)
        assert found.remaining == 9 and list(found.epochs) == list(range(1, 10))


def test_the_reasons_name_the_flags(runs) -> None:
    with pytest.raises(UsageError, match="--resume and --fresh_start contradict each other: drop one"):
        plan_resume(resume=True, fresh_start=True)
    with pytest.raises(
        UsageError, match="--resume does not say what to resume: name a checkpoint with --model_path"
    ):
        plan_resume(resume=True)
    with pytest.raises(UsageError, match="auto_resume needs the run to look in"):
        plan_resume(auto_resume=True)


# What auto takes.


def test_a_damaged_newest_file_is_skipped_and_said(save, runs) -> None:
    newest = save("run/checkpoint_epoch_3.pth", epoch=3, step=30)
    newest.write_bytes(newest.read_bytes()[:1000])
    plan = plan_resume(runs["run"], auto_resume=True)
    assert plan.path == str(runs["run"] / "checkpoint_epoch_2.pth")
    assert [note.partition(":")[0] for note in plan.notes] == ["skipped checkpoint_epoch_3.pth"]
    assert "damaged" in plan.notes[0] and plan.notes[0] in str(plan)


def test_weights_alone_are_skipped_and_said(save, runs) -> None:
    save("run/checkpoint_epoch_3.pth", epoch=3, optimizer=False)
    plan = plan_resume(runs["run"], auto_resume=True)
    assert plan.entry.epoch == 2
    assert plan.notes == ("skipped checkpoint_epoch_3.pth: weights alone, no optimizer",)


def test_nothing_that_can_be_resumed_is_a_fresh_start(save, tmp_path) -> None:
    save("run/weights_epoch_3.pth", epoch=3, optimizer=False)
    plan = plan_resume(tmp_path / "run", auto_resume=True)
    assert plan.action == "fresh"
    assert plan.notes == ("weights_epoch_3.pth: weights alone, no optimizer",)
    assert plan_resume(tmp_path / "never", auto_resume=True).action == "fresh"


# What a path names.


def test_weights_alone_start_a_run_and_resume_none(save) -> None:
    path = save("legacy.pth", optimizer=False)
    assert plan_resume(model_path=path).action == "weights"
    with pytest.raises(UsageError, match="holds weights alone: it can start a run, and cannot resume one"):
        plan_resume(resume=True, model_path=path)


def test_no_counter_anywhere_cannot_be_resumed(save, tmp_path) -> None:
    model, _ = trained(0)
    torch.save(
        {"model": model.state_dict(), "optimizer": torch.optim.SGD(model.parameters(), 0.1).state_dict()},
        tmp_path / "x.pth",
    )
    with pytest.raises(UsageError, match="says neither epoch nor step"):
        plan_resume(resume=True, model_path=tmp_path / "x.pth")
    plan = plan_resume(resume=True, model_path=save("y.pth"), epochs=3)  # AdamW counts its own steps
    assert (plan.step, plan.epoch, plan.remaining) == (1, None, None)
    with pytest.raises(UsageError, match="the checkpoint says no epoch"):
        plan.epochs  # noqa: B018  # a property


def test_a_damaged_or_missing_path(save, tmp_path, monkeypatch) -> None:
    path = save("a.pth", epoch=1)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DamagedFileError, match=r"(?s)is damaged: .*Whole ones beside it: `ckpt ls"):
        plan_resume(resume=True, model_path=path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointNotFoundError, match=rf"Looked at {tmp_path}/none.pth"):
        plan_resume(model_path="none.pth")


def test_a_path_of_a_run_means_its_latest(runs) -> None:
    plan = plan_resume(resume=True, model_path=runs["run"])
    assert plan.path == str(runs["run"] / "checkpoint_epoch_2.pth")
    assert plan.chosen == f"the newest whole checkpoint of {runs['run']} that can be resumed"


def test_a_path_of_a_run_means_its_latest_that_can_be_resumed(save, runs) -> None:
    save("run/checkpoint_epoch_9.pth", epoch=9, optimizer=False)
    plan = plan_resume(resume=True, model_path=runs["run"])
    assert plan.path == str(runs["run"] / "checkpoint_epoch_2.pth")
    assert plan.notes[0] == "skipped checkpoint_epoch_9.pth: weights alone, no optimizer"
    started = plan_resume(model_path=runs["run"])
    assert started.path == str(runs["run"] / "checkpoint_epoch_9.pth"), "a start needs weights alone"


def test_a_relative_path_is_looked_for_in_the_usual_places(runs, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CKPT_ROOT", str(tmp_path / "other"))
    monkeypatch.chdir(tmp_path / "empty")
    plan = plan_resume(model_path="pretrained.pth")
    assert plan.path == str(runs["path"])
    assert str(runs["path"]) in str(plan)


def test_what_a_run_left_that_was_started_anew_is_told(save, tmp_path) -> None:
    for epoch in (1, 2, 3):
        save(f"epoch_{epoch}.pth", seed=epoch, epoch=epoch, timestamp=1.7e9 + epoch)
    assert plan_resume(tmp_path, auto_resume=True).notes == ()
    save("epoch_1.pth", seed=9, epoch=1, timestamp=1.8e9)
    plan = plan_resume(tmp_path, auto_resume=True)
    assert plan.path == str(tmp_path / "epoch_3.pth")
    assert plan.notes == ("epoch_1.pth was saved later than epoch_3.pth, which may be of a run before that",)


# Counting epochs.


def planned(path: Path, **options):
    return plan_resume(resume=True, model_path=path, **options)


def test_nothing_tells_so_one_is_assumed_and_said(save) -> None:
    plan = planned(save("checkpoint_epoch_9.pth", epoch=9), epochs=10)
    assert (plan.epoch, plan.epochs_done, plan.remaining) == (10, 9, 1)
    assert "nothing tells whether epochs count from 0 or 1" in plan.notes[0]


@pytest.mark.parametrize(
    ("steps", "first", "said"),
    [
        (40, 0, "40 steps are 4 equal epochs, and not 3; counted from 0"),
        (30, 1, "30 steps are 3 equal epochs, and not 4; counted from 1"),
        (24, 1, "nothing tells whether epochs count from 0 or 1"),
        (25, 1, "nothing tells whether epochs count from 0 or 1"),
    ],
)
def test_the_steps_of_a_lone_checkpoint_are_a_hint(save, steps, first, said) -> None:
    plan = planned(save("checkpoint.pth", epoch=3, step=steps), epochs=10)
    assert (plan.first_epoch, plan.epoch, plan.epochs_done) == (first, 4, 4 - first)
    assert said in plan.notes[0]


@pytest.mark.parametrize(("stepped", "first"), [(4, 0), (3, 1)])
def test_the_schedule_of_a_lone_checkpoint_is_a_hint(save, stepped, first) -> None:
    _, optimizer = trained(0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    for _ in range(stepped):
        optimizer.step()
        schedule.step()
    plan = planned(save("checkpoint.pth", epoch=3, lr_scheduler=schedule.state_dict()), epochs=10)
    assert (plan.first_epoch, plan.epochs_done) == (first, 4 - first)
    assert ("a schedule was stepped 4 times at epoch 3" in plan.notes[0]) == (first == 0)


def test_an_epoch_below_zero_is_none(save) -> None:
    path = save("last_epoch_7.pth", epoch=-1)
    assert planned(path, epochs=10).epochs_done == 7, "the name speaks where the inside does not"
    plan = planned(save("last.pth", epoch=-1, step=30), epochs=10)
    assert (plan.epoch, plan.step) == (None, 30)


def test_the_caller_tells(save) -> None:
    path = save("checkpoint_epoch_9.pth", epoch=9)
    zero = planned(path, epochs=12, first_epoch=0)
    assert (zero.epoch, zero.epochs_done, zero.remaining, zero.notes) == (10, 10, 2, ())
    assert list(zero.epochs) == [10, 11]
    one = planned(path, epochs=12, first_epoch=1)
    assert (one.epoch, one.epochs_done, one.remaining) == (10, 9, 3)
    assert list(one.epochs) == [10, 11, 12]


def test_the_name_tells(save) -> None:
    plan = planned(save("checkpoint_epoch_10.pth", epoch=9), epochs=12)
    assert (plan.epoch, plan.epochs_done, plan.first_epoch) == (10, 10, 0)
    plan = planned(
        save("ckpt_epoch_3.pth", epoch=4), epochs=12
    )  # the number of epochs done, as torch's example saves
    assert (plan.epoch, plan.epochs_done, plan.first_epoch) == (5, 4, 1)


@pytest.mark.parametrize(("first", "done"), [(0, 8), (1, 7)])
def test_steps_tell(save, first, done) -> None:
    for epoch in (3, 5, 7):
        path = save(f"checkpoint_epoch_{epoch}.pth", seed=epoch, epoch=epoch, step=(epoch + 1 - first) * 40)
    plan = planned(path, epochs=10)
    assert (plan.epoch, plan.first_epoch, plan.epochs_done, plan.remaining) == (8, first, done, 10 - done)
    assert plan.batch == 0 and plan.notes == ()


def test_a_checkpoint_of_epoch_zero_tells(save) -> None:
    save("checkpoint_epoch_0.pth", epoch=0, seed=1)
    plan = planned(save("checkpoint_epoch_4.pth", epoch=4), epochs=10)
    assert (plan.epoch, plan.epochs_done) == (5, 5)


@pytest.mark.parametrize(("saved", "first"), [(9, 0), (10, 1)])
def test_a_final_checkpoint_and_its_target_tell(save, saved, first) -> None:
    plan = planned(save("model_final.pth", epoch=saved, config={"epochs": 10}), epochs=10)
    assert (plan.first_epoch, plan.epochs_done, plan.remaining) == (first, 10, 0)


def test_a_save_in_the_middle_of_an_epoch(save) -> None:
    for epoch in (1, 2, 3):
        save(f"checkpoint_epoch_{epoch}.pth", seed=epoch, epoch=epoch, step=epoch * 40)
    plan = planned(save("interrupted.pth", epoch=4, step=3 * 40 + 15), epochs=10)
    assert (plan.epochs_done, plan.epoch, plan.batch, plan.step, plan.remaining) == (3, 4, 15, 135, 7)
    assert "of which 15 batches are done" in str(plan)
    told = planned(
        save("alone/interrupted.pth", epoch=3, step=135), steps_per_epoch=40, first_epoch=0, epochs=10
    )
    assert (told.epochs_done, told.epoch, told.batch) == (3, 3, 15)


def test_a_fraction_of_an_epoch(save) -> None:
    plan = planned(save("a/x.pth", epoch=2.5, step=500), epochs=5)
    assert (plan.epochs_done, plan.epoch, plan.batch, plan.remaining) == (2, 3, 100, 3)


def test_a_batch_in_the_file(save) -> None:
    plan = planned(save("a/x.pth", epoch=3, step=99, batch_idx=14), epochs=5, first_epoch=1)
    assert (plan.epochs_done, plan.epoch, plan.batch) == (2, 3, 15)


def test_the_last_batch_of_an_epoch_ends_it(save) -> None:
    path = save("a/x.pth", epoch=3, step=120, batch_idx=39)
    plan = planned(path, epochs=5, first_epoch=1, steps_per_epoch=40)
    assert (plan.epochs_done, plan.epoch, plan.batch) == (3, 4, 0)


@pytest.mark.parametrize("name", LIGHTNING)
def test_lightning_goes_on_where_the_plan_says(name) -> None:
    plan = planned(GOLDEN / f"{name}.ckpt", epochs=6)
    assert [plan.epoch, plan.batch] == LIGHTNING[name]
    assert plan.remaining == 6 - LIGHTNING[name][0]
    assert planned(GOLDEN / f"{name}.ckpt", first_epoch=1).epoch == plan.epoch + 1, (
        "the caller counts from one"
    )


@pytest.mark.parametrize(("loops", "version"), [({}, "1.4.9"), ({"loops": {"fit_loop": {}}}, "2.6.6")])
def test_lightning_without_its_counters(loops, version, tmp_path) -> None:
    model, optimizer = trained(1)
    state = {
        "epoch": 3, "global_step": 12, "pytorch-lightning_version": version, "state_dict": model.state_dict(),
        "optimizer_states": [optimizer.state_dict()], "callbacks": {}, **loops,
    }  # fmt: skip
    torch.save(state, tmp_path / "last.ckpt")
    plan = planned(tmp_path / "last.ckpt", epochs=10)
    # Before version 1.5 the epoch was the number of those that are done; later it is that of the one in progress.
    assert plan.epochs_done == (3 if version == "1.4.9" else 4)


def test_fairseq_saves_the_epoch_to_go_on_with(tmp_path) -> None:
    tree = trees.fairseq()
    save_checkpoint(tmp_path / "checkpoint2.pt", tree)
    plan = planned(tmp_path / "checkpoint2.pt", epochs=10)
    assert (plan.epochs_done, plan.epoch, plan.batch, plan.step) == (2, 3, 0, 300)
    tree["extra_state"]["train_iterator"]["iterations_in_epoch"] = 40
    save_checkpoint(tmp_path / "checkpoint_3_340.pt", tree)
    plan = planned(tmp_path / "checkpoint_3_340.pt", epochs=10)
    assert (plan.epochs_done, plan.epoch, plan.batch, plan.remaining) == (2, 3, 40, 8)


@pytest.mark.parametrize("tree", [trees.detectron2, trees.detectron2_of_old])
def test_detectron2_saves_the_index_of_the_last_iteration(tree, tmp_path) -> None:
    save_checkpoint(tmp_path / "model_0000999.pth", tree())
    plan = planned(tmp_path / "model_0000999.pth", steps_per_epoch=100)
    assert (plan.step, plan.epochs_done, plan.batch) == (1000, 10, 0)


def test_steps_that_fit_no_epoch_say_nothing(save) -> None:
    save("checkpoint_epoch_1.pth", seed=1, epoch=1, step=100)
    save("checkpoint_epoch_2.pth", seed=2, epoch=2, step=200)
    plan = planned(
        save("checkpoint_epoch_9.pth", epoch=9, step=1337), epochs=12
    )  # another batch size in between
    assert (plan.epochs_done, plan.epoch, plan.batch) == (9, 10, 0)


def test_a_run_counted_in_steps(save) -> None:
    plan = planned(save("step_500.pth", step=500), epochs=10, steps_per_epoch=200)
    assert (plan.epochs_done, plan.epoch, plan.batch, plan.step) == (2, 3, 100, 500)


def test_nothing_remains_is_an_outcome(runs) -> None:
    plan = plan_resume(runs["run"], auto_resume=True, epochs=2)
    assert plan.is_finished and plan.remaining == 0 and list(plan.epochs) == []
    assert "not at all: 2 of 2 epochs are done; raise the target to go on" in str(plan)


# What differs.


def test_hyperparameters_that_differ(runs) -> None:
    plan = plan_resume(runs["run"], auto_resume=True, config={"lr": 0.2, "epochs": 5})
    assert [(change.name, change.saved, change.current) for change in plan.drift.changes] == [
        ("lr", 0.1, 0.2)
    ]
    assert plan.target == 5, "of the config"
    assert not plan_resume(runs["run"], auto_resume=True, config={"lr": 0.1, "epochs": 5}).drift


def test_a_target_is_found_in_the_groups_of_a_config(save) -> None:
    nested = {"optim": {"epochs": 7}, "trainer": {"fit": {"max_epochs": 9}}}
    assert planned(save("a/x.pth", epoch=2, config=nested), first_epoch=1).target == 7
    assert planned(save("b/x.pth", epoch=2, config={**nested, "epochs": 5}), first_epoch=1).target == 5


def test_what_a_script_does_not_have_is_counted(save) -> None:
    saved = {"lr": 0.1, **{f"option_{i}": i for i in range(20)}}
    plan = planned(save("x.pth", epoch=2, config=saved), config={"lr": 0.2}, first_epoch=1)
    text = str(plan)
    assert "lr: saved 0.1, now 0.2" in text
    assert text.endswith("saved, and not there now: option_0, option_1, option_2, option_3, option_4, option_5, option_6, option_7 and 12 more")  # fmt: skip
    assert len(plan.drift.changes) == 21, "the plan itself has all"


def schedulers(optimizer):
    lr = torch.optim.lr_scheduler
    yield "T_max", lr.CosineAnnealingLR(optimizer, T_max=50)
    yield "total_steps", lr.OneCycleLR(optimizer, max_lr=0.1, total_steps=50)
    warm = lr.LinearLR(optimizer, total_iters=5)
    yield "total_iters", lr.SequentialLR(optimizer, [warm, lr.ExponentialLR(optimizer, 0.9)], milestones=[5])


def test_extending_past_the_end_of_a_schedule_warns(save) -> None:
    _, optimizer = trained(0)
    for name, scheduler in schedulers(optimizer):
        path = save(
            f"{name}/x.pth",
            epoch=5,
            step=50,
            config={"epochs": 5},
            scheduler_state_dict=scheduler.state_dict(),
        )
        (warning,) = planned(path, epochs=8).warnings
        assert re.search(
            rf"target of 8 epochs is beyond the saved one of 5, .* ends at {name} = \d+", warning
        )
        assert planned(path, epochs=5).warnings == ()
    endless = torch.optim.lr_scheduler.StepLR(optimizer, 2).state_dict()
    path = save("endless/x.pth", epoch=5, config={"epochs": 5}, scheduler_state_dict=endless)
    assert planned(path, epochs=8).warnings == ()
    assert (
        "cosine"
        in planned(save("c/x.pth", epoch=5, config={"epochs": 5, "scheduler": "cosine"}), epochs=8).warnings[
            0
        ]
    )


# Other formats.


def test_a_train_state_under_orbax(tmp_path) -> None:
    params = {"dense": {"kernel": jnp.ones((3, 2))}}
    state = TrainState.create(
        apply_fn=None, params=params, tx=optax.adam(optax.cosine_decay_schedule(1e-2, 100))
    )
    with ocp.CheckpointManager(tmp_path) as manager:
        for _ in range(3):
            for _ in range(10):
                state = state.apply_gradients(grads=jax.tree.map(jnp.ones_like, state.params))
            step = int(state.step)
            saved = {"state": {"params": state.params, "opt_state": state.opt_state, "step": state.step}}
            saved["metadata"] = {"epoch": step // 10 - 1, "config": {"epochs": 3, "lr": 0.01}}
            manager.save(step, args=ocp.args.PyTreeSave(saved))
    plan = plan_resume(tmp_path, auto_resume=True, epochs=5)
    assert (plan.path, plan.step) == (str(tmp_path / "30"), 30)
    assert (plan.first_epoch, plan.epochs_done, plan.epoch, plan.remaining) == (0, 3, 3, 2)
    assert "optax counts the steps of a schedule" in plan.warnings[0]
    named = plan_resume(resume=True, model_path=tmp_path, epochs=5)
    assert named.path == plan.path, "the root of a CheckpointManager means its latest step"


def trainer_step(folder: Path, step: int) -> Path:
    from safetensors.torch import save_file

    model, optimizer = trained(step)
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    (folder / "trainer_state.json").write_text(
        json.dumps({"global_step": step, "epoch": step / 200, "log_history": []})
    )
    return folder


def test_a_trainer_directory(tmp_path) -> None:
    folder = trainer_step(tmp_path / "checkpoint-500", 500)
    plan = plan_resume(tmp_path, auto_resume=True, epochs=4)
    assert (plan.path, plan.step, plan.epochs_done, plan.batch) == (str(folder), 500, 2, 100)


def test_a_trainer_directory_with_its_final_model_means_its_latest_step(tmp_path) -> None:
    folder = trainer_step(tmp_path / "checkpoint-500", 500)
    for name in ("model.safetensors", "trainer_state.json"):
        shutil.copy(folder / name, tmp_path)
    assert plan_resume(resume=True, model_path=tmp_path).path == str(folder)
    assert plan_resume(model_path=tmp_path).path == str(tmp_path), "the final model starts a run"


def test_a_directory_that_can_be_resumed_from_itself_is_what_is_meant(tmp_path) -> None:
    folder = trainer_step(tmp_path / "checkpoint-500", 500)
    trainer_step(folder / "checkpoint-900", 900)
    assert plan_resume(resume=True, model_path=folder).path == str(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("optimizer.pt", b"PK\x03\x04 and no more"),
        ("optimizer.pt", b""),
        ("trainer_state.json", b'{"global_step": 7'),
    ],
)
def test_a_trainer_directory_that_a_crash_cut_off_is_damaged(tmp_path, name, content) -> None:
    whole = trainer_step(tmp_path / "checkpoint-500", 500)
    cut = trainer_step(tmp_path / "checkpoint-1000", 1000)
    (cut / name).write_bytes(content)
    plan = plan_resume(tmp_path, auto_resume=True)
    assert plan.path == str(whole)
    assert plan.notes[0].startswith(f"skipped checkpoint-1000: damaged ({name} is ")
    with pytest.raises(DamagedFileError, match=f"is damaged: {name} is "):
        plan_resume(resume=True, model_path=cut)


def test_what_run_save_writes_resumes_without_arguments(tmp_path) -> None:
    model, optimizer = trained(0)
    run = Run(tmp_path)
    for epoch in (1, 2):
        run.save(model, optimizer, epoch=epoch, step=epoch * 7, config={"epochs": 6})
    plan = plan_resume(run, auto_resume=True)
    assert (plan.action, plan.epoch, plan.step) == ("resume", 3, 14)
    assert (plan.target, list(plan.epochs)) == (6, [3, 4, 5, 6]), "the target is the saved one"


def test_html_escapes(save) -> None:
    plan = plan_resume(model_path=save("<b>.pth", epoch=1))
    assert "<b>" not in plan._repr_html_() and "&lt;b&gt;.pth" in plan._repr_html_()
    assert np.isfinite(plan.step)
