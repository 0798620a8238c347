"""What notebooks show of checkpoints and reports: tables, in which everything that a file says is escaped."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ckpt_core.folding import fold_names
from ckpt_core.html import folded_html, note_html, section_html, table_html
from ckpt_core.text import arrays_text, count_text, size_text, value_text

if TYPE_CHECKING:
    from ckpt_core.comparison import Diff
    from ckpt_core.config.result import ResolvedConfig
    from ckpt_core.conversion import Receipt
    from ckpt_core.schema import Checkpoint
    from ckpt_core.validation.receipt import Restored
    from ckpt_core.validation.report import ValidationReport

__all__ = ["checkpoint_html", "config_html", "diff_html", "receipt_html", "restored_html", "validation_html"]

_SETTINGS: Final = 100


def checkpoint_html(ckpt: Checkpoint) -> str:
    """Return a checkpoint's counters, metrics, config and optimizer, and its weights behind a click."""
    rows: list[tuple[str, Any]] = [("format", ckpt.format), ("layout", ckpt.layout or "not recognised")]
    counters = (("step", ckpt.step), ("epoch", ckpt.epoch), ("time", _moment(ckpt.timestamp)))
    rows += [(name, value) for name, value in counters if value is not None]
    rows += [("metrics", _settings(ckpt.metrics)), ("config", _settings(ckpt.config))]
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


def diff_html(diff: Diff) -> str:
    """Return how two checkpoints differ, and how far their arrays moved where that was asked for."""
    verdict = f"equal: {diff.same:,} leaves" if diff.is_equal else f"{len(diff.differences):,} leaves differ"
    table = [(d.path or "(the whole)", d.kind, d.a, d.b) for d in diff.differences]
    blocks = [table_html((), [("a", diff.a), ("b", diff.b), ("the same", f"{diff.same:,} leaves")])]
    if table:
        blocks.append(folded_html("differences", table_html(("where", "what", "a", "b"), table)))
    if diff.movements:
        moved = [(m.path, m.relative, m.cosine, m.maximum) for m in diff.movements]
        blocks.append(folded_html("movements", table_html(("array", "relative", "cosine", "maximum"), moved)))
    return section_html(verdict, *blocks)


def receipt_html(receipt: Receipt) -> str:
    """Return what a conversion did."""
    rows = [
        ("from", f"{receipt.source} ({receipt.source_format})"),
        ("to", f"{receipt.target} ({receipt.target_format})"),
        ("written", f"{arrays_text(receipt.arrays)}, {size_text(receipt.nbytes)}"),
    ]
    remarks = [("carried", receipt.carried), ("lost", receipt.losses), ("left behind", receipt.left)]
    rows += [(title, f"{remark.path}: {remark.text}") for title, found in remarks for remark in found]
    return section_html("converted", table_html((), rows), *map(note_html, receipt.notes))


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
        ("metrics", _settings(restored.metrics)),
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


def config_html(resolved: ResolvedConfig) -> str:
    """Return a config, each value with its source, and what contradicts the shapes."""
    rows = [(name, _value(origin.value), str(origin)) for name, origin in resolved.provenance.items()]
    problems = [note_html(str(conflict)) for conflict in resolved.conflicts]
    missing = [note_html(f"missing: {', '.join(resolved.missing)}")] if resolved.missing else []
    table = table_html(("field", "value", "source"), rows)
    return section_html("config", table, *problems, *missing, *map(note_html, resolved.notes))


def _moment(timestamp: Any) -> Any:
    """Seconds since 1970 as a date; anything else as it is."""
    if isinstance(timestamp, (int, float)) and 1e8 < timestamp < 1e11:
        return f"{dt.datetime.fromtimestamp(timestamp, dt.timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
    return timestamp


def _settings(values: Mapping[str, Any]) -> str:
    shown = [f"{name} = {_value(value)}" for name, value in list(values.items())[:_SETTINGS]]
    return ", ".join(shown) + (", ..." if len(values) > _SETTINGS else "")


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else value_text(value)


def _folded(items: list[tuple[str, tuple[str, ...]]]) -> list[tuple[str, int, tuple[str, ...]]]:
    return [(name, count, items[first][1]) for name, count, first in fold_names(items)]
