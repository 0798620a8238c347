"""What became of comparing and filling a model, as HTML, for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckpt_core.rendering.folding import fold_names
from ckpt_core.rendering.html import note_html, section_html, settings_text, table_html
from ckpt_core.rendering.text import size_text

if TYPE_CHECKING:
    from ckpt_core.validation.receipt import Restored
    from ckpt_core.validation.report import ValidationReport

__all__ = ["restored_html", "validation_html"]


def validation_html(report: ValidationReport) -> str:
    """Return every difference between a checkpoint and a model, repeated blocks as one row."""
    rows = [
        (f"{name} ({count} leaves)" if count > 1 else name, *said)
        for name, count, said in _folded(
            [
                (p.name, (p.kind, str(p.found or ""), str(p.expected or ""), p.near or ""))
                for p in report.problems
            ]
        )
    ]
    heads = ("name", "problem", "in the checkpoint", "in the model", "did you mean")
    title = f"{report.checkpoint} {'fits' if report.ok else 'does not fit'} {report.model}"
    table = table_html(heads, rows) if rows else note_html(f"{report.matched:,} arrays agree")
    fields = [(f.field, list(f.values), list(f.instead), f.evidence) for f in report.fields]
    likely = table_html(("likely field", "checkpoint", "model", "evidence"), fields) if fields else ""
    return section_html(title, table, likely)


def restored_html(restored: Restored) -> str:
    """Return the receipt of filling a model."""
    rows: list[tuple[str, Any]] = [
        ("chosen", restored.chosen),
        ("step", restored.step),
        ("epoch", restored.epoch),
        ("metrics", settings_text(restored.metrics)),
        ("learning rate", restored.learning_rate),
        ("parameters", f"{restored.total:,} ({restored.trainable:,} trainable, {restored.frozen:,} frozen)"),
        ("memory", f"{size_text(restored.nbytes)} on {restored.device}"),
        ("mode", f"{restored.mode} ({restored.switch} switches)" if restored.mode else None),
    ]
    layers = table_html(("first layers", "shape", "dtype"), [(n, list(s), d) for n, s, d in restored.layers])
    shown = [(name, value) for name, value in rows if value not in (None, "")]
    return section_html(
        f"restored {restored.path}", table_html((), shown), layers, *map(note_html, restored.next)
    )


def _folded(items: list[tuple[str, tuple[str, ...]]]) -> list[tuple[str, int, tuple[str, ...]]]:
    return [(name, count, items[first][1]) for name, count, first in fold_names(items)]
