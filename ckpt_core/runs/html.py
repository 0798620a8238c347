"""A run as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ckpt_core.rendering.html import note_html, section_html, table_html
from ckpt_core.rendering.text import size_text
from ckpt_core.runs.entry import Entry
from ckpt_core.runs.rows import columns_of, figure, moment, rows_of, running_bests

__all__ = ["run_html"]


def run_html(path: str, entries: Sequence[Entry], notes: Sequence[str] = ()) -> str:
    """Return the listing of a run as HTML; everything that files say is escaped."""
    if not entries:
        return section_html(path, note_html("holds no checkpoint"))
    metrics = columns_of(entries)
    heads = ["checkpoint", "epoch", "step", *metrics, "size", "time (UTC)", "role", "state"]
    rows = [_cells(row.entry, row.copies, row.roles, metrics) for row in rows_of(entries)]
    bests = [
        f"best so far: {name} = {value:.6g} (in {where})" for name, value, where in running_bests(entries)
    ]
    return section_html(path, table_html(heads, rows), *map(note_html, [*bests, *notes]))


def _cells(entry: Entry, copies: Sequence[str], roles: Sequence[str], metrics: Sequence[str]) -> list[Any]:
    name = f"{entry.name} = {', '.join(copies)}" if copies else entry.name
    state = f"{entry.state}: {entry.reason}" if entry.reason else entry.state
    figures = [figure(entry, column) for column in ("epoch", "step", *metrics)]
    return [name, *figures, size_text(entry.size), moment(entry), ", ".join(roles), state]
