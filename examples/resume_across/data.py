"""scikit-learn's handwritten digits, split once and for all: 1,437 images to learn from, 360 held out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

__all__ = ["Digits", "digits"]


class Digits(NamedTuple):
    """Images of shape (n, 8, 8) with values from 0 to 1, and their labels of shape (n,)."""

    train_images: npt.NDArray[np.float32]
    test_images: npt.NDArray[np.float32]
    train_labels: npt.NDArray[np.int64]
    test_labels: npt.NDArray[np.int64]


def digits() -> Digits:
    """Return the two parts; the same images are held out in every run."""
    data = load_digits()
    images = (data.images / 16).astype(np.float32)
    labels = data.target.astype(np.int64)
    return Digits(*train_test_split(images, labels, test_size=0.2, random_state=0, stratify=labels))
