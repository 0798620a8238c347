"""Numbers that do not mean the same on both sides, which the shapes of some layers show."""

from __future__ import annotations

import itertools
from typing import Any

import flax.linen as fnn
import torch
from torch import nn
from transfer.matching.judge import Pair


class OutOfOrder(nn.Module):
    """The layers are numbered in another order than they are called."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(8, 3), nn.Linear(5, 8)
        self.fc3, self.fc4 = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.fc2, self.fc3, self.fc4):
            x = torch.tanh(layer(x))
        return self.fc1(x)


class InOrder(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        for _ in range(3):
            x = fnn.tanh(fnn.Dense(8)(x))
        return fnn.Dense(3)(x)


class Bottleneck(nn.Module):
    """The shortcut is the last convolution by number; the 3x3 one shows that this is not so on the other side."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.conv3, self.conv4 = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv4(x) + self.conv3(torch.relu(self.conv2(torch.relu(self.conv1(x)))))


class FlaxBottleneck(fnn.Module):
    """The shortcut is called first."""

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        shortcut = fnn.Conv(4, (1, 1))(x)
        y = fnn.relu(fnn.Conv(4, (1, 1))(x))
        y = fnn.relu(fnn.Conv(4, (3, 3), padding=1)(y))
        return shortcut + fnn.Conv(4, (1, 1))(y)


WIDTHS = (8, 4, 4, 4, 2)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ups = nn.ModuleList(
            [
                nn.ModuleDict({"conv": nn.Conv2d(into, out, 3, padding=1), "norm": nn.GroupNorm(2, out)})
                for into, out in itertools.pairwise(WIDTHS)
            ]
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for up in self.ups:
            x = torch.relu(up["norm"](up["conv"](x)))
        return x


class Up(fnn.Module):
    out: int

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        x = fnn.Conv(self.out, (3, 3), padding=1, name="conv")(x)
        return fnn.relu(fnn.GroupNorm(2, epsilon=1e-5, name="norm")(x))


class FlaxDecoder(fnn.Module):
    """Blocks are counted from the output backwards."""

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        for i in reversed(range(4)):
            x = Up(WIDTHS[4 - i], name=f"up_{i}")(x)
        return x


OPEN = (
    Pair("layers numbered out of order", OutOfOrder, InOrder, (3, 5)),
    Pair("a shortcut that is called first", Bottleneck, FlaxBottleneck, (2, 4, 5, 5), channels=True),
    Pair("blocks counted backwards", Decoder, FlaxDecoder, (2, 8, 4, 4), channels=True),
)
