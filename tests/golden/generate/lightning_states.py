"""Checkpoints of Lightning 2.6.6: callbacks, an averaged copy, a gradient scaler.

python3.11 -m venv a && a/bin/pip install torch==2.13.0 lightning==2.6.6
a/bin/python lightning_states.py
"""

from __future__ import annotations

import logging
import tempfile
import warnings

import lightning
import torch
from layouts import digests, meaning, target
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.plugins.precision import MixedPrecision

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
HOW = f"lightning {lightning.__version__}, torch {torch.__version__.split('+')[0]}"


class Tiny(LightningModule):
    """A linear layer, a batch norm and a metric."""

    def __init__(self, width: int = 3, lr: float = 0.01, name: str = "tiny") -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.BatchNorm1d(width))
        self.head = torch.nn.Linear(width, 1)

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        return self.head(self.net(batch)).pow(2).mean()

    def validation_step(self, batch: torch.Tensor, index: int) -> None:
        self.log("val_loss", self.head(self.net(batch)).pow(2).mean(), batch_size=len(batch))

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1)}


def run(name: str, callbacks: list, plugins: list | None = None) -> tuple[Trainer, Tiny]:
    torch.manual_seed(7)
    model, data = Tiny(), torch.utils.data.DataLoader(torch.randn(8, 2), batch_size=4)
    with tempfile.TemporaryDirectory() as folder:
        watch = ModelCheckpoint(folder, monitor="val_loss", filename="best")
        trainer = Trainer(
            max_epochs=2, accelerator="cpu", logger=False, callbacks=[watch, *callbacks], plugins=plugins,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(model, data, data)
        return trainer, model


def save(trainer: Trainer, name: str) -> None:
    """Save without the name of the folder in which it ran."""
    watch = trainer.checkpoint_callback
    kept = {
        key: getattr(watch, key)
        for key in ("dirpath", "best_model_path", "last_model_path", "kth_best_model_path", "best_k_models")
    }
    watch.dirpath = "checkpoints"
    watch.best_model_path = watch.last_model_path = watch.kth_best_model_path = "checkpoints/best.ckpt"
    watch.best_k_models = {"checkpoints/best.ckpt": watch.best_model_score}
    trainer.save_checkpoint(target(name))
    vars(watch).update(kept)


def facts(trainer: Trainer, watch: ModelCheckpoint) -> dict:
    return {
        "step": trainer.global_step,
        "epoch": trainer.current_epoch,
        "metrics": {"val_loss": float(watch.current_score), "best_val_loss": float(watch.best_model_score)},
        "config": {"width": 3, "lr": 0.01, "name": "tiny"},
        "opt_states": {"optimizer_states": [["adamw"], trainer.global_step]},
        "schedulers": ["lr_schedulers"],
    }


def weights(model: torch.nn.Module) -> dict:
    names = dict(model.named_parameters())
    state = model.state_dict()
    return {
        "params": digests({name: value for name, value in state.items() if name in names}),
        "buffers": digests({name: value for name, value in state.items() if name not in names}),
    }


def main() -> None:
    trainer, model = run("plain", [])
    save(trainer, "lightning/2.6_plain.ckpt")
    meaning(
        "lightning/2.6_plain.ckpt",
        how=HOW,
        layout="lightning",
        **weights(model),
        **facts(trainer, trainer.checkpoint_callback),
    )

    trainer, model = run("scaled", [], [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))])
    save(trainer, "lightning/2.6_scaled.ckpt")
    meaning("lightning/2.6_scaled.ckpt", how=HOW, layout="lightning", scaler=True, **weights(model))

    average = EMAWeightAveraging(decay=0.5)
    seen: dict = {}

    class Look(lightning.pytorch.Callback):
        """Save within the fit, where the callback still has both copies, and keep what they hold."""

        def on_train_end(self, trainer: Trainer, model: Tiny) -> None:
            seen.update(raw=weights(model), averaged=weights(average._average_model.module))
            seen["raw"] = {k: dict(v) for k, v in seen["raw"].items()}
            save(trainer, "lightning/2.6_averaged.ckpt")

    trainer, model = run("averaged", [Look(), average])
    meaning(
        "lightning/2.6_averaged.ckpt", how=HOW, layout="lightning", weights="averaged", **seen["averaged"],
        copies={"raw": {**seen["raw"]["params"], **seen["raw"]["buffers"]}},
        notes=["state_dict holds averaged weights"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
