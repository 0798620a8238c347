"""What a checkpoint has learned, as pictures: its slots, and the features of its encoder."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from images import draw
from matplotlib import pyplot as plt
from model import SlotAutoencoder, SlotConfig
from train import SIZE

from ckpt_core import Checkpoint, resolve_config

mpl.use("agg")


def learned(ckpt: Checkpoint, rules: Path) -> dict[str, np.ndarray]:
    """Return arrays to draw, from a checkpoint of any container, whose config is inferred."""
    config = resolve_config(ckpt, SlotConfig, rules=rules).config
    model = SlotAutoencoder(config)
    arrays = {name.replace("/", "."): array.read() for name, array in ckpt.params.leaves()}
    model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    image = torch.from_numpy(draw(1, SIZE, seed=5))
    with torch.no_grad():
        features = model.encoder.conv_layers(image)
        reconstruction, masks = model(image)
    return {
        "image": image[0].permute(1, 2, 0).numpy(),
        "reconstruction": reconstruction[0].permute(1, 2, 0).clamp(0, 1).numpy(),
        "masks": masks[0].numpy(),
        "features": features[0].numpy(),
        "slots": arrays["attention.slots_mu"],
    }


def draw_slots(found: dict[str, np.ndarray], path: Path) -> None:
    """Draw the image, its reconstruction, and what each slot takes of it; below, the learned slots themselves."""
    figure = plt.figure(figsize=(10, 7.2), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[3, 2])
    panels = above.subplots(4, 10).flat
    strongest = np.argsort(-found["masks"].sum((1, 2)))
    shown = [("image", found["image"]), ("reconstruction", found["reconstruction"])]
    shown += [(f"slot {slot}", found["image"] * found["masks"][slot][..., None]) for slot in strongest]
    for panel in panels:
        panel.axis("off")
    for panel, (title, picture) in zip(above.axes, shown, strict=False):
        panel.imshow(picture / max(picture.max(), 1e-6))
        panel.set_title(title, fontsize=7, pad=2)
    axes = below.subplots()
    drawn = axes.imshow(found["slots"], cmap="RdBu", aspect="auto", vmin=-3, vmax=3)
    axes.set(xlabel="slot_dim", ylabel="slot", title=f"slots_mu {found['slots'].shape}")
    below.colorbar(drawn)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def draw_features(found: dict[str, np.ndarray], path: Path) -> None:
    """Draw the maps of the encoder's last convolution, each on its own scale."""
    figure, axes = plt.subplots(4, 7, figsize=(8, 4.8), layout="constrained")
    for panel in axes.flat:
        panel.axis("off")
    axes.flat[0].imshow(found["image"])
    axes.flat[0].set_title("image", fontsize=8)
    for i, (panel, feature) in enumerate(zip(axes.flat[1:], found["features"], strict=False)):
        panel.imshow(feature, cmap="viridis")
        panel.set_title(f"feature {i}", fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)
