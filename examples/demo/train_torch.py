"""Train a small convolutional network on the digits in PyTorch, and save it the way training scripts do.

    python train_torch.py --out out

Leaves `digits_epoch_N.pth` at half time and at the end: model_state_dict, optimizer_state_dict, epoch, metrics
and the argparse Namespace itself, which `torch.load(weights_only=True)` refuses.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data import Digits, digits
from torch import nn


class DigitsNet(nn.Module):
    """Two convolutions, a batch norm and a linear layer; images are (n, 8, 8)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(2 * width)
        self.head = nn.Linear(2 * width * 16, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.conv1(images.unsqueeze(1)).relu()
        hidden = self.norm(self.conv2(hidden)).relu()
        return self.head(hidden.flatten(1))


def accuracy(state_dict: Mapping[str, Any], data: Digits) -> float:
    """Return the share of held-out digits that these weights (tensors or arrays) get right."""
    model = DigitsNet(width=len(state_dict["conv1.bias"]))
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state_dict.items()})
    model.eval()
    with torch.no_grad():
        guesses = model(torch.from_numpy(data.test_images)).argmax(1)
    return (guesses == torch.from_numpy(data.test_labels)).double().mean().item()


def train_epoch(model: DigitsNet, optimizer: torch.optim.Optimizer, data: Digits, batch: int) -> float:
    """Run one epoch and return its mean loss."""
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    model.train()
    total = 0.0
    for rows in torch.randperm(len(images)).split(batch):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(rows)
    return total / len(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-2)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    data = digits()
    model = DigitsNet(args.width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
    for epoch in range(1, args.epochs + 1):
        metrics = {"train_loss": train_epoch(model, optimizer, data, args.batch)}
        metrics["test_accuracy"] = accuracy(model.state_dict(), data)
        print(
            f"torch epoch {epoch}: {metrics['train_loss']:.4f}, {metrics['test_accuracy']:.1%} of held-out digits"
        )
        if epoch in {args.epochs // 2, args.epochs}:
            checkpoint = {
                "epoch": epoch,
                "model_state_dict": model.state_dict(),
                "optimizer_state_dict": optimizer.state_dict(),
                "metrics": metrics,
                "args": args,
            }
            torch.save(checkpoint, args.out / f"digits_epoch_{epoch}.pth")


if __name__ == "__main__":
    main()
