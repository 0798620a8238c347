"""Small colour images with a few shapes on a dark ground, drawn with numpy."""

from __future__ import annotations

import numpy as np

COLOURS = np.array([[0.95, 0.3, 0.25], [0.25, 0.75, 0.35], [0.3, 0.45, 0.95], [0.95, 0.8, 0.2]], np.float32)
SHAPES = np.array(
    [[[1, 1, 1], [1, 1, 1], [1, 1, 1]], [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0], [1, 1, 1], [1, 1, 1]]],
    bool,
)
"""A square, a cross and a bar of three by three pixels."""


def draw(count: int, size: int, seed: int) -> np.ndarray:
    """Return images as float32 (count, 3, size, size), each with two or three shapes of different colours."""
    random = np.random.default_rng(seed)
    images = np.full((count, 3, size, size), 0.05, np.float32)
    for image in images:
        for colour in random.permutation(COLOURS)[: random.integers(2, 4)]:
            y, x = random.integers(0, size - 2, 2)
            image[:, y : y + 3, x : x + 3][:, SHAPES[random.integers(3)]] = colour[:, None]
    return images
