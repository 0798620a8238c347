"""Checkpoints of mmengine 0.10.7's Runner: as it is, and with its EMAHook.

python3.11 -m venv a && a/bin/pip install torch==2.13.0 mmengine==0.10.7 "setuptools<80"
a/bin/python mmengine_states.py
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import warnings
from pathlib import Path

import mmengine
import torch
from layouts import digests, meaning, target
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, MODELS
from mmengine.runner import Runner

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
HOW = f"mmengine {mmengine.__version__}, torch {torch.__version__.split('+')[0]}"


@MODELS.register_module()
class Tiny(BaseModel):
    """A linear layer and a batch norm."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.BatchNorm1d(width))

    def forward(self, inputs: torch.Tensor, mode: str = "loss") -> dict:
        return {"loss": self.net(inputs).pow(2).mean()}


@DATASETS.register_module()
class Rows(torch.utils.data.Dataset):
    """Eight pairs of numbers."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> dict:
        return {"inputs": torch.tensor([i / 8, 1.0])}


@HOOKS.register_module()
class WithoutFolder(Hook):
    """Takes the folder in which it ran out of what is saved."""

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint["message_hub"]["runtime_info"]["last_ckpt"] = "work/epoch_2.pth"


def run(name: str, hooks: list) -> Runner:
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # files name their folder
        settings = {
            "model": {"type": "Tiny", "width": 3},
            "work_dir": "work",
            "train_dataloader": {
                "dataset": {"type": "Rows"},
                "sampler": {"type": "DefaultSampler"},
                "batch_size": 4,
                "collate_fn": {"type": "default_collate"},
            },
            "train_cfg": {"by_epoch": True, "max_epochs": 2},
            "optim_wrapper": {"optimizer": {"type": "AdamW", "lr": 0.01, "betas": (0.9, 0.99)}},
            "param_scheduler": {"type": "MultiStepLR", "milestones": [1]},
            "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 2}},
            "custom_hooks": [*hooks, {"type": "WithoutFolder"}],
            "randomness": {"seed": 3},
            "experiment_name": "tiny",
        }
        runner = Runner.from_cfg(Config(settings))
        runner.train()
        shutil.copy(Path("work", "epoch_2.pth"), target(name))
        return runner


def weights(state: dict) -> dict:
    learned = [
        key for key in state if not key.endswith(("running_mean", "running_var", "num_batches_tracked"))
    ]
    return {
        "params": digests({key: state[key] for key in learned}),
        "buffers": digests({key: value for key, value in state.items() if key not in learned}),
    }


def main() -> None:
    facts = {
        "step": 4, "epoch": 2, "opt_states": {"optimizer": [["adamw"], 4]}, "schedulers": ["param_schedulers"],
        "config": {"model": {"type": "Tiny", "width": 3}, "train_cfg": {"by_epoch": True, "max_epochs": 2}},
    }  # fmt: skip
    runner = run("mmengine/0.10_plain.pth", [])
    last = float(runner.message_hub.log_scalars["train/loss"].data[0][-1])
    meaning(
        "mmengine/0.10_plain.pth", how=HOW, layout="mmengine", **weights(runner.model.state_dict()), **facts,
        metrics={"train/loss": last},
    )  # fmt: skip
    runner = run("mmengine/0.10_ema.pth", [{"type": "EMAHook", "momentum": 0.5, "update_buffers": True}])
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == "EMAHook")
    raw, averaged = runner.model.state_dict(), hook.ema_model.module.state_dict()
    meaning(
        "mmengine/0.10_ema.pth", how=HOW, layout="mmengine", weights="ema", **weights(averaged), **facts,
        copies={"raw": digests(raw)}, notes=["state_dict holds averaged weights"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
