"""The assignment and its margins, against trying everything."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from ckpt_core.transfer.matching.assignment import assign, margins


def best(scores: np.ndarray, but: tuple[int, int] | None = None) -> tuple[int, float]:
    """The number of pairs and the sum of the best assignment without one pair."""
    rows, columns = scores.shape

    @functools.cache
    def at(row: int, used: int) -> tuple[int, float]:
        if row == rows:
            return 0, 0.0
        found = at(row + 1, used)
        for column in range(columns):
            if not used >> column & 1 and np.isfinite(scores[row, column]) and (row, column) != but:
                count, total = at(row + 1, used | 1 << column)
                found = max(found, (count + 1, total + scores[row, column]))
        return found

    return at(0, 0)


@pytest.mark.parametrize("seed", range(60))
def test_the_best_assignment_and_the_loss_of_every_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-3, 6, rng.integers(1, 6, 2)).astype(float)
    scores[rng.random(scores.shape) < 0.2] = -np.inf
    chosen = assign(scores)
    total = sum(scores[row, column] for row, column in enumerate(chosen) if column is not None)
    count = sum(column is not None for column in chosen)
    assert (count, total) == pytest.approx(best(scores))
    for row, (column, margin) in enumerate(zip(chosen, margins(scores, chosen), strict=True)):
        if column is not None:
            other = best(scores, (row, column))
            assert margin == pytest.approx(np.inf if other[0] < count else total - other[1])
