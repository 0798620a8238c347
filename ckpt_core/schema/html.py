"""A checkpoint as HTML, for notebooks."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from ckpt_core.rendering.html import folded_html, note_html, section_html, settings_text, table_html
from ckpt_core.rendering.text import arrays_text, count_text, size_text

if TYPE_CHECKING:
    from ckpt_core.schema.checkpoint import Checkpoint

__all__ = ["checkpoint_html"]


def checkpoint_html(ckpt: Checkpoint) -> str:
    """Return a checkpoint's counters, metrics, config and optimizer, and its weights behind a click."""
    rows: list[tuple[str, Any]] = [("format", ckpt.format), ("layout", ckpt.layout or "not recognised")]
    counters = (("step", ckpt.step), ("epoch", ckpt.epoch), ("time", _moment(ckpt.timestamp)))
    rows += [(name, value) for name, value in counters if value is not None]
    rows += [("metrics", settings_text(ckpt.metrics)), ("config", settings_text(ckpt.config))]
    rows += [
        (name, f"{' or '.join(state.kind[:4])}, step {state.step}") for name, state in ckpt.opt_states.items()
    ]
    weights = [("params", ckpt.params), ("buffers", ckpt.buffers), *ckpt.ema.items()]
    blocks = []
    for title, section in weights:
        leaves = list(section.leaves())
        if leaves:
            nbytes = sum(array.nbytes for _, array in leaves)
            elements = count_text(sum(array.size for _, array in leaves))
            head = f"{title}: {arrays_text(len(leaves))}, {elements} elements, {size_text(nbytes)}"
            table = [
                (name, list(array.shape), array.dtype, size_text(array.nbytes)) for name, array in leaves
            ]
            blocks.append(folded_html(head, table_html(("name", "shape", "dtype", "size"), table)))
    notes = map(note_html, ckpt.metadata.notes)
    return section_html(
        ckpt.path or "in memory", table_html((), [row for row in rows if row[1] != ""]), *blocks, *notes
    )


def _moment(timestamp: Any) -> Any:
    """Seconds since 1970 as a date; anything else as it is."""
    if isinstance(timestamp, (int, float)) and 1e8 < timestamp < 1e11:
        return f"{dt.datetime.fromtimestamp(timestamp, dt.timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    return timestamp
