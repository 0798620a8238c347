"""The run that the notebook looks at: a small network on scikit-learn's digits, one checkpoint per epoch."""

from __future__ import annotations

from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

from ckpt_core import Run

__all__ = ["Net", "held_out", "train_run"]

LEARNED = 1400
LR = 1.5e-2


class Net(nn.Module):
    """Two convolutions and two linear layers, for images of shape (n, 1, 8, 8)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.hidden = nn.Linear(2 * width * 4, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(self.conv1(images).relu(), 2)
        x = nn.functional.max_pool2d(self.conv2(x).relu(), 2)
        return self.head(self.hidden(x.flatten(1)).relu())


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return all images, of shape (1797, 1, 8, 8) with values from 0 to 1, and their labels."""
    data = load_digits()
    return torch.from_numpy(data.images / 16).float()[:, None], torch.from_numpy(data.target)


def held_out() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the 397 images that training never sees."""
    images, labels = digits()
    return images[LEARNED:], labels[LEARNED:]


def train_run(folder: str | Path, epochs: int = 10) -> None:
    """Train and keep every epoch, the best and the final one, with the loss and accuracy on what was held out."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, labels = digits()
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    run, step = Run(folder), 0
    for epoch in range(1, epochs + 1):
        for batch in torch.randperm(LEARNED).split(64):
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        with torch.no_grad():
            logits = model(images[LEARNED:])
        metrics = {
            "val_loss": nn.functional.cross_entropy(logits, labels[LEARNED:]),
            "val_acc": (logits.argmax(1) == labels[LEARNED:]).float().mean(),
        }
        config = {"width": 16, "lr": LR, "epochs": epochs}
        run.save(
            model, optimizer, epoch=epoch, step=step, metrics=metrics, config=config, best="val_loss",
            final=epoch == epochs,
        )  # fmt: skip
