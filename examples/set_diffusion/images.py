"""Sets of small colour images: each set shows one blob in several colours and places, drawn with numpy."""

from __future__ import annotations

import numpy as np


def draw_sets(count: int, sample_size: int, size: int, seed: int) -> np.ndarray:
    """Return sets of images as float32 (count, sample_size, size, size, 3) in -1 to 1."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] + 0.5
    centre = random.uniform(1.5, size - 1.5, (2, count, sample_size, 1, 1))
    width = random.uniform(1.0, 2.5, (count, 1, 1, 1))
    blobs = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / width**2)
    colours = random.uniform(0.2, 1.0, (count, sample_size, 1, 1, 3))
    return (2 * blobs[..., None] * colours - 1).astype(np.float32)
