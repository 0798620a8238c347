"""A small slot attention autoencoder (Locatello et al., 2020, arXiv:2006.15055), with a learned start per slot."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class SlotConfig:
    """The hyperparameters, with the defaults of today's training script."""

    num_slots: int = 7
    slot_dim: int = 32
    slot_iterations: int = 3
    hidden_dim: int = 16
    depth: int = 2
    decoder_dim: int = 64
    channels: int = 3


class Position(nn.Module):
    """Adds a projection of each pixel's distance to the four borders."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(4, dim)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        size = round(pixels.shape[-2] ** 0.5)
        steps = torch.linspace(0, 1, size)
        grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1).flatten(0, 1)
        return pixels + self.project(torch.cat([grid, 1 - grid], -1))


class Encoder(nn.Module):
    """Convolutions that keep the size, positions, and a projection to slots."""

    def __init__(self, config: SlotConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(config.depth):
            inputs = config.channels if i == 0 else config.hidden_dim
            layers += [nn.Conv2d(inputs, config.hidden_dim, 3, padding=1), nn.ReLU()]
        self.conv_layers = nn.Sequential(*layers)
        self.position = Position(config.hidden_dim)
        self.norm = nn.LayerNorm(config.hidden_dim)
        self.project = nn.Linear(config.hidden_dim, config.slot_dim)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.conv_layers(images).flatten(2).transpose(1, 2)
        return self.project(self.norm(self.position(features)))


class SlotAttention(nn.Module):
    """Slots compete for pixels: an attention that is normalised over slots, a few times over."""

    def __init__(self, config: SlotConfig) -> None:
        super().__init__()
        self.iterations, self.scale = config.slot_iterations, config.slot_dim**-0.5
        self.slots_mu = nn.Parameter(torch.randn(config.num_slots, config.slot_dim))
        self.norm_inputs, self.norm_slots = nn.LayerNorm(config.slot_dim), nn.LayerNorm(config.slot_dim)
        self.query, self.key, self.value = (
            nn.Linear(config.slot_dim, config.slot_dim, bias=False) for _ in range(3)
        )
        self.update = nn.GRUCell(config.slot_dim, config.slot_dim)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        inputs = self.norm_inputs(inputs)
        keys, values = self.key(inputs), self.value(inputs)
        slots = self.slots_mu.expand(len(inputs), -1, -1)
        for _ in range(self.iterations):
            scores = self.query(self.norm_slots(slots)) @ keys.transpose(1, 2) * self.scale
            attention = scores.softmax(1) + 1e-8
            attention = attention / attention.sum(2, keepdim=True)
            updates = attention @ values
            slots = self.update(updates.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
        return slots


class SlotAutoencoder(nn.Module):
    """Each slot paints the whole image and says where it is opaque; the sum is the reconstruction."""

    def __init__(self, config: SlotConfig) -> None:
        super().__init__()
        self.encoder, self.attention = Encoder(config), SlotAttention(config)
        self.decoder = nn.Sequential(
            Position(config.slot_dim),
            nn.Linear(config.slot_dim, config.decoder_dim),
            nn.ReLU(),
            nn.Linear(config.decoder_dim, config.channels + 1),
        )

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the reconstruction (B, C, H, W) and the masks (B, slots, H, W)."""
        size = images.shape[-2:]
        slots = self.attention(self.encoder(images))
        painted = self.decoder(slots.unsqueeze(2).expand(-1, -1, size.numel(), -1))
        colours, masks = painted[..., :-1], painted[..., -1:].softmax(1)
        image = (colours * masks).sum(1).transpose(1, 2).unflatten(2, size)
        return image, masks.squeeze(3).unflatten(2, size)
