"""Train with 32 slots, and save the weights alone: the hyperparameters are lost with the shell's history."""

from __future__ import annotations

from pathlib import Path

import torch
from images import draw
from model import SlotAutoencoder, SlotConfig
from torch import nn

STEPS, BATCH, SIZE = 350, 16, 8


def train(path: Path) -> float:
    """Train for a few seconds, write the state dict, and return the last loss."""
    torch.manual_seed(0)
    config = SlotConfig(num_slots=32, slot_dim=32, slot_iterations=3, hidden_dim=24, depth=3, decoder_dim=32)
    model = SlotAutoencoder(config)
    images = torch.from_numpy(draw(512, SIZE, seed=0))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=STEPS, pct_start=0.05)
    for _ in range(STEPS):
        batch = images[torch.randint(len(images), (BATCH,))]
        loss = (model(batch)[0] - batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    torch.save(model.state_dict(), path)
    return loss.item()
