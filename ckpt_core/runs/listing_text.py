"""A run as text: the table of `ckpt ls` and of `--list_checkpoints`."""

from __future__ import annotations

from collections.abc import Sequence

from ckpt_core.errors import CheckpointNotFoundError
from ckpt_core.rendering.text import clean, size_text, table
from ckpt_core.runs.entry import Entry
from ckpt_core.runs.rows import Row, columns_of, figure, moment, rows_of, running_bests
from ckpt_core.runs.run import Run
from ckpt_core.runs.select import Selection, metric_named

__all__ = ["listing_text"]


def listing_text(
    run: Run,
    entries: Sequence[Entry] | None = None,
    chosen: Selection | None = None,
    best: str | None = None,
) -> str:
    """Return a listing as text, its choice marked.

    Arguments:
        run: the run.
        entries: its checkpoints in the order in which to show them; as they are by default.
        chosen: the choice; the latest by default.
        best: the metric that comes first.

    Raises:
        CheckpointNotFoundError: there is no checkpoint; says where it looked and what is near.
    """
    entries = run.entries if entries is None else entries
    chosen = _latest(run) if chosen is None else chosen
    first = [metric_named(entries, best)] if best is not None and chosen is not None else []
    metrics = columns_of(entries, first)
    head = ["", "", "checkpoint", "epoch", "step", *metrics, "size", "time (UTC)", "role", ""]
    rows = rows_of(entries)
    names = {chosen.entry.name, *chosen.entry.same_as} if chosen is not None else set()
    body: list[list[str]] = []
    for number, row in enumerate(rows, 1):
        body.append(_cells(number, row, metrics, row.entry.name in names))
        body += [["", "", clean(f"= {copy}"), *[""] * (len(head) - 3)] for copy in row.copies]
    numbers = frozenset({0, *range(3, 6 + len(metrics))})
    lines = [clean(run.path, 1000), *table([list(map(clean, head)), *body], right=numbers)]
    bests = [
        f"best so far: {name} = {value:.6g} (says {where})"
        for name, value, where in running_bests(run.entries)
    ]
    if chosen is not None:
        bests.append(f"chosen: {chosen.path} ({chosen.reason})")
        bests += [f"passed over: {reason}" for reason in chosen.passed_over]
    else:
        bests.append("chosen: none; nothing here is whole")
    return "\n".join([*lines, "", *(clean(line, 1000) for line in (*bests, *run.notes))])


def _latest(run: Run) -> Selection | None:
    try:
        return run.select()
    except CheckpointNotFoundError:
        if not run.entries:
            raise
        return None


def _cells(number: int, row: Row, metrics: Sequence[str], is_chosen: bool) -> list[str]:
    entry = row.entry
    state = "" if entry.state == "complete" else f"{entry.state}: {entry.reason}"
    if entry.state == "complete" and not entry.has_weights:
        state = "no weights"
    figures = [figure(entry, column) for column in ("epoch", "step", *metrics)]
    cells = [
        str(number),
        "*" if is_chosen else "",
        entry.name,
        *figures,
        size_text(entry.size),
        moment(entry),
    ]
    return [clean(cell, 200) for cell in (*cells, ", ".join(row.roles), state)]
