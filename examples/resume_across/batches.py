"""What both halves share: the same batches in the same order, and the learning rate of each step."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from data import digits

__all__ = ["BATCH", "RATE", "STEPS", "WARM_UP", "DigitsBatches", "log", "scheduled"]

BATCH = 64
RATE = 3e-3
STEPS = 360
WARM_UP = 30


def scheduled(step: int) -> float:
    """Return the learning rate of a step: a linear warm-up, then half a cosine."""
    if step < WARM_UP:
        return RATE * (step + 1) / WARM_UP
    return RATE * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / (STEPS - WARM_UP)))


class DigitsBatches:
    """The training digits, shuffled anew each epoch; a batch depends on the step alone."""

    def __init__(self) -> None:
        self.data = digits()

    def at(self, step: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return the images and labels of a step."""
        count = len(self.data.train_images) // BATCH
        epoch, place = divmod(step, count)
        order = np.random.default_rng(epoch).permutation(len(self.data.train_images))
        rows = order[place * BATCH : (place + 1) * BATCH]
        return self.data.train_images[rows], self.data.train_labels[rows]


def log(path: Path, start: int, stop: int, losses: list[float]) -> None:
    """Append the losses of some steps to a file of JSON lines."""
    with path.open("a") as file:
        file.write(json.dumps({"start": start, "stop": stop, "losses": losses}) + "\n")
