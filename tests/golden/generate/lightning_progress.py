"""Checkpoints of Lightning 2.6.6 from the moments at which it writes them, and where it goes on from each.

python3.11 -m venv a && a/bin/pip install torch==2.13.0 lightning==2.6.6
a/bin/python lightning_progress.py

`resumes.json` has, for each file, the epoch and the batch of the first training step that Lightning makes from it.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from layouts import target
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
FOLDER = "lightning/progress"

CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "epoch_end": ("epoch=1-step=14", {}, {}),
    "epoch_end_in_hook": ("epoch=1-step=14", {"save_on_train_epoch_end": True}, {}),
    "in_epoch": ("epoch=1-step=10", {"every_n_train_steps": 5}, {}),
    "validation_in_epoch": ("epoch=1-step=13", {}, {"val_check_interval": 3}),
    "accumulated": ("epoch=1-step=6", {"every_n_train_steps": 2}, {"accumulate_grad_batches": 2}),
    "stopped_by_steps": ("epoch=2-step=17", {"save_last": True}, {"max_steps": 17}),
    "after_training": ("after", {}, {}),
}
"""The file that is kept, arguments of ModelCheckpoint and of Trainer; seven batches make an epoch."""


class Tiny(LightningModule):
    """A linear layer that remembers its first training step."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(2, 1)
        self.first: tuple[int, int] | None = None

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        self.first = self.first or (self.current_epoch, index)
        return self.net(batch).pow(2).mean()

    def validation_step(self, batch: torch.Tensor, index: int) -> None:
        self.log("val_loss", self.net(batch).pow(2).mean(), batch_size=len(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


class Watch(ModelCheckpoint):
    """Keeps no state, which would name the folder in which it ran."""

    def state_dict(self) -> dict[str, Any]:
        return {}


def trainer(epochs: int, callbacks: list[Any], **options: Any) -> Trainer:
    return Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, callbacks=callbacks, enable_progress_bar=False,
        enable_checkpointing=bool(callbacks), enable_model_summary=False, num_sanity_val_steps=0, **options,
    )  # fmt: skip


def main() -> None:
    data = torch.utils.data.DataLoader(torch.randn(14, 2, generator=torch.Generator().manual_seed(7)), 2)
    resumes = {}
    for name, (kept, saving, options) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            one = trainer(3, [Watch(folder, save_top_k=-1, **saving)], **options)
            one.fit(Tiny(), data, data)
            one.save_checkpoint(Path(folder) / "after.ckpt")
            file = target(f"{FOLDER}/{name}.ckpt")
            shutil.copy(Path(folder) / f"{kept}.ckpt", file)
            again = Tiny()
            options.pop("max_steps", None)
            trainer(6, [], **options).fit(again, data, data, ckpt_path=file)
            resumes[name] = again.first
    target(f"{FOLDER}/resumes.json").write_text(json.dumps(resumes, indent=1) + "\n")


if __name__ == "__main__":
    main()
