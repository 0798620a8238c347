"""scikit-learn's digits in batches whose order is a function of the seed and the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

__all__ = ["BATCHES", "batches", "held_out"]

BATCH = 64
LEARNED = 1472
BATCHES = LEARNED // BATCH
"""Batches, and so optimizer steps, per epoch."""

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def batches(seed: int, epoch: int, start: int = 0) -> Iterator[Batch]:
    """Yield (images of shape (64, 64), labels) of one epoch, from the batch `start` on.

    The order comes from (seed, epoch), so that a run that goes on in the middle of an epoch sees the same batches
    as one that was never interrupted, and nothing about the order has to be saved.
    """
    images, labels = _data()
    order = np.random.default_rng([seed, epoch]).permutation(LEARNED)
    for batch in order.reshape(BATCHES, BATCH)[start:]:
        yield images[batch], labels[batch]


def held_out() -> Batch:
    """Return the 325 images that no batch has."""
    images, labels = _data()
    return images[LEARNED:], labels[LEARNED:]


def _data() -> Batch:
    data = load_digits()
    return (data.data / 16).astype(np.float32), data.target.astype(np.int64)
