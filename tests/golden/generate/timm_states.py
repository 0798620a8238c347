"""Checkpoints of timm 1.0.31's CheckpointSaver and of Ultralytics 8.4.190: in training, and stripped.

python3.11 -m venv b && b/bin/pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31 ultralytics==8.4.190
b/bin/python timm_states.py
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import warnings

import timm
import torch
import ultralytics
from layouts import digests, meaning, target
from timm.utils import CheckpointSaver, ModelEmaV3, NativeScaler
from ultralytics.nn.tasks import ClassificationModel
from ultralytics.utils.torch_utils import ModelEMA, strip_optimizer

warnings.simplefilter("ignore")
TORCH = f"torch {torch.__version__.split('+')[0]}"


class Tiny(torch.nn.Module):
    """A convolution, a batch norm and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 2, 3)
        self.bn = torch.nn.BatchNorm2d(2)
        self.head = torch.nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.bn(self.conv(x)).mean((2, 3)))


def split(net: torch.nn.Module) -> dict:
    names, state = dict(net.named_parameters()), net.state_dict()
    return {
        "params": digests({k: v for k, v in state.items() if k in names}),
        "buffers": digests({k: v for k, v in state.items() if k not in names}),
    }


def of_timm() -> None:
    torch.manual_seed(2)
    net = Tiny()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    ema = ModelEmaV3(net, decay=0.5)
    for _ in range(3):
        net(torch.randn(4, 1, 5, 5)).pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        ema.update(net)
    args = argparse.Namespace(model="tiny", lr=0.1, epochs=5)
    scaler = NativeScaler(device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        saver = CheckpointSaver(
            net, optimizer, args=args, model_ema=ema, amp_scaler=scaler, checkpoint_dir=folder
        )
        saver.best_metric, saver.best_epoch = 71.5, 1
        saver._save(target("timm/1.0_training.pth.tar"), 2, metric=68.25)
    meaning(
        "timm/1.0_training.pth.tar", how=f"timm {timm.__version__}, {TORCH}", layout="timm", **split(net),
        copies={"state_dict_ema": digests(ema.module.state_dict())}, epoch=2,
        metrics={"metric": 68.25, "best_metric": 71.5}, config={"model": "tiny", "lr": 0.1, "epochs": 5},
        opt_states={"optimizer": [["adamw"], 3]}, scaler=True, extra=["version"],
    )  # fmt: skip


def of_ultralytics() -> None:
    torch.manual_seed(4)
    how = f"ultralytics {ultralytics.__version__}, {TORCH}"
    layers = {"backbone": [[-1, 1, "Conv", [8, 3, 2]]], "head": [[-1, 1, "Classify", [2]]]}
    net = ClassificationModel({"nc": 2, "channels": 1, **layers}, ch=1, verbose=False)
    net.model = net.model[:1]  # the head alone would be 30 kB
    net.args = {"task": "classify"}
    ema = ModelEMA(net)
    ema.update(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    held = copy.deepcopy(ema.ema).half()
    state = {
        "epoch": 3, "best_fitness": 0.75, "stopper": {"best_fitness": 0.75, "best_epoch": 2}, "model": None,
        "ema": held, "updates": ema.updates, "optimizer": optimizer.state_dict(),
        "scaler": torch.amp.GradScaler("cpu").state_dict(), "train_args": {"epochs": 5, "lr0": 0.1},
        "train_metrics": {"metrics/accuracy_top1": 0.5, "val/loss": 0.6, "fitness": 0.75},
        "train_results": {"epoch": [1, 2, 3], "train/loss": [0.9, 0.8, 0.7]},
        "date": "2026-01-02T03:04:05", "version": ultralytics.__version__, "license": "AGPL-3.0", "docs": "",
    }  # fmt: skip  # the dict of BaseTrainer.save_model
    path = target("ultralytics/8.4_training.pt")
    torch.save(state, path)
    metrics = {"metrics/accuracy_top1": 0.5, "val/loss": 0.6, "fitness": 0.75}
    meaning(
        "ultralytics/8.4_training.pt", how=how, layout="ultralytics", weights="ema", **split(held), epoch=3,
        metrics={**metrics, "best_fitness": 0.75}, config={"epochs": 5, "lr0": 0.1},
        opt_states={"optimizer": [["sgd"], None]}, scaler=True, notes=["the only weights"],
    )  # fmt: skip
    stripped = target("ultralytics/8.4_stripped.pt")
    strip_optimizer(path, stripped)
    meaning(
        "ultralytics/8.4_stripped.pt", how=how, layout="ultralytics", weights="ema", **split(held), metrics=metrics,
        notes=["training is finished"], extra=["epoch"],
    )  # fmt: skip


if __name__ == "__main__":
    of_timm()
    of_ultralytics()
