"""Which way metrics are better."""

from __future__ import annotations

import pytest

from ckpt_core.errors import UsageError
from ckpt_core.runs.metrics import direction, is_running_best, mode_of


@pytest.mark.parametrize(
    "name",
    [
        "loss",
        "val_loss",
        "valLoss",
        "train/loss",
        "eval_eer",
        "equal_error_rate",
        "wer",
        "test.CER",
        "fid",
        "perplexity",
        "mse",
        "val_rmse",
        "lpips",
        "top1_error",
        "loss_iou",
        "mean_squared_error",
        "nll",
        "negative_log_likelihood",
        "best_val_eer",
    ],
)
def test_down(name) -> None:
    assert direction(name) == "min"


@pytest.mark.parametrize(
    "name",
    [
        "acc",
        "val_acc",
        "accuracy",
        "acc1",
        "top5",
        "f1",
        "val/f1",
        "auroc",
        "bleu",
        "mIoU",
        "psnr",
        "ssim",
        "r2",
        "episode_reward",
        "coco/bbox_mAP",
        "mAP50",
        "neg_mean_squared_error",
        "log_likelihood",
        "rouge2",
        "fitness",
    ],
)
def test_up(name) -> None:
    assert direction(name) == "max"


@pytest.mark.parametrize("name", ["temperature", "lr", "epoch", "grad_norm", ""])
def test_unknown(name) -> None:
    assert direction(name) is None
    assert mode_of(name, "max") == "max"
    with pytest.raises(UsageError, match=r"does not tell whether lower or higher is better\n  Say so: mode="):
        mode_of(name)


def test_what_is_told_counts() -> None:
    assert mode_of("val_loss", "max") == "max"
    with pytest.raises(UsageError, match='neither "min" nor "max"'):
        mode_of("val_loss", "lower")


def test_running_bests() -> None:
    assert is_running_best("best_val_eer") and is_running_best("val/best_acc")
    assert not is_running_best("val_eer") and not is_running_best("bestial_loss")
