"""A small convolutional classifier of handwritten digits, trained in torch; nothing here knows ckpt-core."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits


class DigitNet(torch.nn.Module):
    """Two convolutions with batch normalisation, flattened, and two dense layers."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, width, 3, padding=1)
        self.bn1 = torch.nn.BatchNorm2d(width)
        self.conv2 = torch.nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.bn2 = torch.nn.BatchNorm2d(2 * width)
        self.hidden = torch.nn.Linear(2 * width * 4 * 4, 64)
        self.out = torch.nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of images of (batch, 1, 8, 8)."""
        x = torch.relu(self.bn1(self.conv1(images)))
        x = torch.relu(self.bn2(self.conv2(x)))
        x = torch.relu(self.hidden(x.flatten(1)))
        return self.out(x)


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training images (n, 1, 8, 8) and labels, and the last 400 of both to test with."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    return images[:-400], labels[:-400], images[-400:], labels[-400:]


def train(path: Path, epochs: int = 4) -> DigitNet:
    """Train, save the state dict, and return the model in eval mode."""
    torch.manual_seed(0)
    images, labels, _, _ = map(torch.from_numpy, digits())
    model = DigitNet()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.save(model.state_dict(), path)
    return model.eval()
