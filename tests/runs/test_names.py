"""What file names tell."""

from __future__ import annotations

import datetime as dt

import pytest

from ckpt_core.runs.names import facts_of_name, has_words
from ckpt_core.runs.order import natural


@pytest.mark.parametrize(
    ("name", "epoch", "step", "number"),
    [
        ("checkpoint_epoch_10.pth", 10, None, None),
        ("checkpoint_epoch_10_comment.pth", 10, None, None),
        ("checkpoint_epoch0009_step000009_20251122_065455.pt", 9, 9, None),
        ("dense_reg_epoch_5.pkl", 5, None, None),
        ("checkpoint-500", None, 500, None),
        ("100/default", None, 100, None),
        ("checkpoint-500/model.safetensors", None, 500, None),
        ("step_500/unet.pt", None, 500, None),
        ("ckpts/global_step500/model.pt", None, 500, None),
        ("runs/epoch_100/best.pth", None, None, None),
        ("runs/steps_100/best.pth", None, None, None),
        ("epoch=3-step=1200.ckpt", 3, 1200, None),
        ("epoch=03-step=1200-v1.ckpt", 3, 1200, None),
        ("ckpt_000005", None, 5, None),
        ("iter_20000.pth", None, 20000, None),
        ("step_100k", None, 100_000, None),
        ("step_1.5M.pt", None, 1_500_000, None),
        ("Epoch10-Acc0.93.pth", 10, None, None),
        ("10epochs.pt", 10, None, None),
        ("global_step500", None, 500, None),
        ("resnet50_epoch10.pth", 10, None, None),
        ("model_0004999.pth", None, None, 4999),
        ("checkpoint12.pt", None, None, 12),
        ("weights.10-0.25.h5", None, None, 10),
        ("slot_attention_32.pth", None, None, 32),
        ("resnet50.pth", None, None, None),
        ("checkpoint_20251122.pt", None, None, None),
        ("model_v2.pth.tar", None, None, None),
        ("epoch_" + "9" * 40 + ".pth", None, None, None),
        ("100", None, 100, None),
        (".pth", None, None, None),
    ],
)
def test_counters(name, epoch, step, number) -> None:
    facts = facts_of_name(name)
    assert (facts.epoch, facts.step, facts.number) == (epoch, step, number)


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("epoch=3-val_loss=0.25.ckpt", {"val_loss": 0.25}),
        ("run_val_loss=1e-05.ckpt", {"val_loss": 1e-05}),
        ("model_epoch_3_loss_0.25.pth", {"loss": 0.25}),
        ("digits_val_acc_0.9123_lr_0.001.pth", {"val_acc": 0.9123}),
        ("epoch=3-top1=76.ckpt", {"top1": 76.0}),
        ("top1_76.pth", {}),  # 76 may be anything
        ("lr=0.1.ckpt", {}),
    ],
)
def test_metrics(name, metrics) -> None:
    assert facts_of_name(name).metrics == metrics


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("model_best.pth.tar", "best"),
        ("best_coco_bbox_mAP_epoch_12.pth", "best"),
        ("last.ckpt", "last"),
        ("checkpoint_latest.pt", "last"),
        ("final.pth", "final"),
        ("model_final.pth", "final"),
        ("finally.pth", "periodic"),
        ("epoch_1.pth", "periodic"),
    ],
)
def test_roles(name, role) -> None:
    assert facts_of_name(name).role == role


def test_times_are_local() -> None:
    local = dt.datetime(2025, 11, 22, 6, 54, 55)  # noqa: DTZ001  # names have no time zone
    for name in (
        "epoch0009_20251122_065455.pt",
        "state_2025-11-22T06-54-55.pkl",
        "run-2025.11.22-06.54.55.pt",
    ):
        assert facts_of_name(name).time == local.timestamp(), name
    assert facts_of_name("x_20251322_065455.pt").time is None, "there is no thirteenth month"


def test_comments_are_whole_words() -> None:
    assert facts_of_name("checkpoint_epoch_10_exp-a_b.pth").comment == "exp-a_b"
    assert facts_of_name("dense_reg_epoch_5.pkl").comment == ""
    assert has_words("exp_a", "checkpoint_epoch_10_exp-a.pth")
    assert has_words("dense_reg", "dense_reg_epoch_5.pkl")
    assert not has_words("exp1", "checkpoint_epoch_10_exp12.pth")


def test_numbers_in_names_sort_as_numbers() -> None:
    names = ["run_10", "run_9", "Run_1b", "run_1a", "run"]
    assert sorted(names, key=natural) == ["run", "run_1a", "Run_1b", "run_9", "run_10"]
