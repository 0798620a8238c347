"""Images that become vectors, and back; arrays whose axes are all of one size."""

from __future__ import annotations

from typing import Any

import flax.linen as fnn
import jax.numpy as jnp
import torch
from torch import nn
from transfer.matching.judge import Pair


class Autoencoder(nn.Module):
    """The width of the flattened image is that of another layer, too."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU())
        self.mean = nn.Linear(32, 6)
        self.expand = nn.Linear(6, 32)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(8, 4, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(4, 1, 4, 2, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.mean(self.encoder(x).flatten(1))
        return self.decoder(self.expand(z).view(-1, 8, 2, 2))


class FlaxAutoencoder(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        for i, width in enumerate((4, 8)):
            x = fnn.relu(fnn.Conv(width, (3, 3), 2, padding=1, name=f"enc{i}")(x))
        z = fnn.Dense(6, name="mean")(x.reshape(len(x), -1))
        x = fnn.Dense(32, name="expand")(z).reshape(-1, 2, 2, 8)
        pads = ((2, 2), (2, 2))
        x = fnn.relu(fnn.ConvTranspose(4, (4, 4), (2, 2), padding=pads, name="dec0")(x))
        return fnn.ConvTranspose(1, (4, 4), (2, 2), padding=pads, name="dec1")(x)


class Pooled(nn.Module):
    """Nothing is flattened before the bottleneck, and what makes the image is as wide as a layer before it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.widen = nn.Linear(8, 32)
        self.narrow = nn.Linear(32, 6)
        self.expand = nn.Linear(6, 32)
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.narrow(torch.relu(self.widen(self.conv(x).mean((2, 3)))))
        return self.last(self.expand(z).view(-1, 8, 2, 2))


class FlaxPooled(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        x = fnn.Conv(8, (3, 3), padding=1, name="conv")(x).mean((1, 2))
        z = fnn.Dense(6, name="narrow")(fnn.relu(fnn.Dense(32, name="widen")(x)))
        x = fnn.Dense(32, name="expand")(z).reshape(-1, 2, 2, 8)
        return fnn.Conv(3, (3, 3), padding=1, name="last")(x)


class Square(nn.Module):
    """The dense layer behind the flattening makes as many features as it takes; a norm may lie between."""

    def __init__(self, *, norm: bool = False, channels: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16 * channels, 3, padding=1)
        self.conv = nn.Conv2d(16 * channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm1d(16 * channels) if norm else nn.Identity()
        self.fc1 = nn.Linear(16 * channels, 16 * channels if channels == 8 else 5)
        self.fc2 = nn.Linear(16 * channels if channels == 8 else 5, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(torch.relu(self.fc1(self.norm(self.conv(self.first(x)).flatten(1)))))


class FlaxSquare(fnn.Module):
    norm: bool = False
    channels: int = 8

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        x = fnn.Conv(16 * self.channels, (3, 3), padding=1, name="first")(x)
        x = fnn.Conv(self.channels, (3, 3), padding=1, name="conv")(x).reshape(len(x), -1)
        if self.norm:
            x = fnn.BatchNorm(use_running_average=True, name="norm")(x)
        width = 16 * self.channels if self.channels == 8 else 5
        return fnn.Dense(10, name="fc2")(fnn.relu(fnn.Dense(width, name="fc1")(x)))


class Columns(nn.Module):
    """A recurrent layer over the columns of an image: each is channels and rows, flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.lstm = nn.LSTM(16, 8, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        columns = self.conv(x).permute(0, 3, 1, 2).flatten(2)
        return self.out(self.lstm(columns)[0])


class FlaxColumns(fnn.Module):
    @fnn.compact
    def __call__(self, x: Any) -> Any:
        columns = fnn.Conv(4, (3, 3), padding=1, name="conv")(x).transpose(0, 2, 1, 3)
        columns = columns.reshape(*columns.shape[:2], -1)
        return fnn.Dense(3, name="out")(fnn.RNN(fnn.OptimizedLSTMCell(8), name="lstm")(columns))


class Planes(nn.Module):
    """A norm over channels, height and width, and a table of them that is added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.norm = nn.LayerNorm((channels, 4, 4), eps=1e-6)
        self.offset = nn.Parameter(torch.zeros(1, channels, 4, 4))
        self.fc = nn.Linear(channels, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.relu(self.norm(self.conv(x)) + self.offset).mean((2, 3)))


class FlaxPlanes(fnn.Module):
    channels: int

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        x = fnn.Conv(self.channels, (3, 3), padding=1, name="conv")(x)
        axes = (-3, -2, -1)
        x = fnn.LayerNorm(reduction_axes=axes, feature_axes=axes, name="norm")(x)
        x = x + self.param("offset", fnn.initializers.zeros, (1, 4, 4, self.channels))
        return fnn.Dense(2, name="fc")(fnn.relu(x).mean((1, 2)))


class Factors(nn.Module):
    """Matrices that no layer holds; torch has their outputs first."""

    def __init__(self, *, telling: bool) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.zeros(8, 8))
        self.last = nn.Parameter(torch.zeros(4 if telling else 8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ self.mix.T) @ self.last.T


class FlaxFactors(fnn.Module):
    telling: bool

    @fnn.compact
    def __call__(self, x: Any) -> Any:
        zeros = fnn.initializers.zeros
        last = self.param("last", zeros, (8, 4 if self.telling else 8))
        return jnp.tanh(x @ self.param("mix", zeros, (8, 8))) @ last


IMAGE = {"shape": (2, 3, 4, 4), "channels": True}
EXACT = (
    Pair("planes of channels, height and width", lambda: Planes(6), lambda: FlaxPlanes(6), **IMAGE),
    Pair(
        "a matrix that is stored as its sibling is",
        lambda: Factors(telling=True),
        lambda: FlaxFactors(telling=True),
        (3, 8),
    ),
)
OPEN = (
    Pair("autoencoder", Autoencoder, FlaxAutoencoder, (2, 1, 8, 8), channels=True),
    Pair("an image out of a vector", Pooled, FlaxPooled, **IMAGE),
    Pair("flattened and square", Square, FlaxSquare, **IMAGE),
    Pair("flattened and normed", lambda: Square(norm=True), lambda: FlaxSquare(norm=True), **IMAGE),
    Pair(
        "as wide when flattened as a convolution",
        lambda: Square(channels=4),
        lambda: FlaxSquare(channels=4),
        **IMAGE,
    ),
    Pair("columns of an image", Columns, FlaxColumns, (2, 1, 4, 5), channels=True),
    Pair("planes of one size", lambda: Planes(4), lambda: FlaxPlanes(4), **IMAGE),
    Pair(
        "matrices without a sibling that tells",
        lambda: Factors(telling=False),
        lambda: FlaxFactors(telling=False),
        (3, 8),
    ),
)
