"""The PyTorch half of the run: starts it, or goes on from a checkpoint.

python torch_part.py --steps 0 120 --save out/a.pth [--resume out/x.pth]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from batches import BATCH, RATE, DigitsBatches, log, scheduled
from torch import nn


class DigitsNet(nn.Module):
    """Two convolutions, a batch norm and a linear layer; images are (n, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.head = nn.Linear(32 * 16, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.conv1(images.unsqueeze(1)).relu()
        return self.head(self.norm(self.conv2(hidden)).relu().flatten(1))


def made_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """AdamW that decays matrices alone."""
    decay = [(name, p) for name, p in model.named_parameters() if p.ndim > 1]
    rest = [(name, p) for name, p in model.named_parameters() if p.ndim < 2]
    groups = [{"params": decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=RATE, weight_decay=0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs=2, required=True)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--lose-optimizer", action="store_true", help="go on with a fresh optimizer")
    args = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = DigitsNet()
    optimizer = made_optimizer(model)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: scheduled(step) / RATE)
    if args.resume:
        saved = torch.load(args.resume, weights_only=True)
        model.load_state_dict(saved["model_state_dict"])
        if not args.lose_optimizer:
            optimizer.load_state_dict(saved["optimizer_state_dict"])
            scheduler.load_state_dict(saved["scheduler_state_dict"])
            # The scheduler sets the rate after each step; of the step that comes next it is what the position says.
            for group in optimizer.param_groups:
                group["lr"], group["initial_lr"] = scheduled(args.steps[0]), RATE
            scheduler.base_lrs = [RATE] * len(optimizer.param_groups)

    batches = DigitsBatches()
    model.train()
    losses = []
    for step in range(*args.steps):
        images, labels = batches.at(step)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(torch.from_numpy(images)), torch.from_numpy(labels))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    log(args.log, *args.steps, losses)
    if args.save:
        state = {
            "step": args.steps[1],
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "scheduler_state_dict": scheduler.state_dict(),
            "config": {"optimizer": "adamw", "batch": BATCH},
        }
        torch.save(state, args.save)
    first, last = np.mean(losses[:10]), np.mean(losses[-10:])
    print(f"torch steps {args.steps[0]} to {args.steps[1]}: loss {first:.4f} -> {last:.4f}")


if __name__ == "__main__":
    main()
