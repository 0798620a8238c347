"""The best one-to-one assignment of sources to targets, and how much worse the next best is, line by line."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

__all__ = ["assign", "margins"]

_NEVER: Final = -1e6
_UNASSIGNED: Final = -50.0


def assign(scores: Any) -> list[int | None]:
    """Return the column of each row in the assignment with the largest sum.

    Arguments:
        scores: rows x columns; -inf where a pair is impossible. As many pairs as possible are made.
    """
    rows, columns = scores.shape
    size = rows + columns
    padded = np.full((size, size), 0.0)
    padded[:rows, :columns] = np.where(np.isfinite(scores), scores, _NEVER)
    padded[:rows, columns:] = _UNASSIGNED
    padded[rows:, :columns] = _UNASSIGNED
    chosen = _shortest_paths(-padded)
    return [
        column if column < columns and np.isfinite(scores[row, column]) else None
        for row, column in enumerate(chosen[:rows])
    ]


def _shortest_paths(cost: Any) -> list[int]:
    """The Hungarian method by shortest augmenting paths (Jonker and Volgenant, 1987), on a square matrix."""
    size = len(cost)
    potential = np.zeros(size + 1)
    row_potential = np.zeros(size + 1)
    row_of = np.zeros(size + 1, int)
    for row in range(1, size + 1):
        row_of[0] = row
        column = 0
        nearest = np.full(size + 1, np.inf)
        way = np.zeros(size + 1, int)
        used = np.zeros(size + 1, bool)
        while True:
            used[column] = True
            here = row_of[column]
            reduced = cost[here - 1] - row_potential[here] - potential[1:]
            better = ~used[1:] & (reduced < nearest[1:])
            nearest[1:][better] = reduced[better]
            way[1:][better] = column
            reach = np.where(used[1:], np.inf, nearest[1:])
            following = int(np.argmin(reach)) + 1
            step = reach[following - 1]
            row_potential[row_of[used]] += step
            potential[used] -= step
            nearest[~used] -= step
            column = following
            if not row_of[column]:
                break
        while column:
            row_of[column] = row_of[way[column]]
            column = way[column]
    chosen = [0] * size
    for column in range(1, size + 1):
        chosen[row_of[column] - 1] = column - 1
    return chosen


def margins(scores: Any, chosen: list[int | None]) -> list[float]:
    """Return by how much the sum falls when a row has to go elsewhere, all others rearranged at their best.

    Arguments:
        scores: rows x columns, as for `assign`.
        chosen: what `assign` returned.
    """
    taken = [row for row, column in enumerate(chosen) if column is not None]
    columns = [column for column in chosen if column is not None]
    free = [column for column in range(scores.shape[1]) if column not in set(columns)]
    idle = [row for row, column in enumerate(chosen) if column is None]
    count = len(taken)
    own = scores[taken, columns]
    # What is lost when row i takes the column of row j. The last node is "no column": a row that goes there makes
    # room for one that had none.
    loss = np.full((count + 1, count + 1), np.inf)
    loss[:count, :count] = own[:, None] - scores[np.ix_(taken, columns)]
    if idle and count:
        loss[:count, count] = own
        loss[count, :count] = -scores[np.ix_(idle, columns)].max(axis=0)
    np.fill_diagonal(loss, np.inf)
    leaving = own - scores[np.ix_(taken, free)].max(axis=1) if free else np.full(count, np.inf)
    for middle in range(count + 1):
        np.minimum(loss, loss[:, middle, None] + loss[None, middle, :], out=loss)
    away = np.minimum(leaving, (loss[:count, :count] + leaving[None, :]).min(axis=1, initial=np.inf))
    coming = np.minimum(0.0, loss[:count, :count].min(axis=0, initial=np.inf))
    result = [np.inf] * len(chosen)
    for i, row in enumerate(taken):
        result[row] = float(min(loss[i, i], away[i] + coming[i]))
    return result
