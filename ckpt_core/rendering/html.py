"""HTML for notebooks: small tables in which everything that a file says is escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from ckpt_core.rendering.text import value_text

__all__ = [
    "folded_html",
    "note_html",
    "section_html",
    "setting_text",
    "settings_text",
    "table_html",
    "text_html",
]

_LIMIT: Final = 500
"""Characters of a cell that are shown: a file chooses its names, and may choose very long ones."""

_ROWS: Final = 500
_SETTINGS: Final = 100

_CELL: Final = "text-align:left;padding:2px 10px 2px 0;vertical-align:top"


def text_html(value: Any) -> str:
    """Return a value as text that is safe inside HTML; control characters are escaped, long text is shortened."""
    text = _text(value)
    text = text if len(text) <= _LIMIT else f"{text[: _LIMIT // 2]} … {text[-_LIMIT // 4 :]}"
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return html.escape(printable)


def table_html(columns: Sequence[str], rows: Sequence[Sequence[Any]], marked: Collection[int] = ()) -> str:
    """Return a table.

    Arguments:
        columns: the heads; none for a table without.
        rows: the cells.
        marked: the numbers of the rows to stand out.

    Example:
        >>> "&lt;b&gt;" in table_html(["name"], [["<b>"]])
        True
    """
    head = "".join(f'<th style="{_CELL}">{text_html(name)}</th>' for name in columns)
    body = "".join(
        f"<tr{_mark(i in marked)}>{''.join(f'<td style={_CELL!r}>{text_html(cell)}</td>' for cell in row)}</tr>"
        for i, row in enumerate(rows[:_ROWS])
    )
    more = note_html(f"and {len(rows) - _ROWS:,} more rows") if len(rows) > _ROWS else ""
    head = f"<thead><tr>{head}</tr></thead>" if columns else ""
    return f'<table style="border-collapse:collapse">{head}<tbody>{body}</tbody></table>{more}'


def section_html(title: str, *blocks: str) -> str:
    """Return blocks of HTML under a title (plain text)."""
    return f'<div><div style="font-weight:600;margin:4px 0">{text_html(title)}</div>{"".join(blocks)}</div>'


def folded_html(title: str, *blocks: str) -> str:
    """Return blocks of HTML that open at a click on their title (plain text)."""
    return f"<details><summary>{text_html(title)}</summary>{''.join(blocks)}</details>"


def note_html(text: str) -> str:
    """Return a line of small text."""
    return f'<div style="color:gray;font-size:smaller">{text_html(text)}</div>'


def settings_text(values: Mapping[str, Any]) -> str:
    """Return settings in one line, the first hundred of them."""
    shown = [f"{name} = {setting_text(value)}" for name, value in list(values.items())[:_SETTINGS]]
    return ", ".join(shown) + (", ..." if len(values) > _SETTINGS else "")


def setting_text(value: Any) -> str:
    """Return the value of a setting or a metric as text, numbers to six digits."""
    return f"{value:.6g}" if isinstance(value, float) else value_text(value)


def _mark(is_marked: bool) -> str:
    return ' style="background:rgba(255,200,0,.25)"' if is_marked else ""


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return str(value)
