"""A config as HTML, for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckpt_core.rendering.html import note_html, section_html, setting_text, table_html

if TYPE_CHECKING:
    from ckpt_core.config.result import ResolvedConfig

__all__ = ["config_html"]


def config_html(resolved: ResolvedConfig) -> str:
    """Return a config, each value with its source, and what contradicts the shapes."""
    rows = [(name, setting_text(origin.value), str(origin)) for name, origin in resolved.provenance.items()]
    problems = [note_html(str(conflict)) for conflict in resolved.conflicts]
    missing = [note_html(f"missing: {', '.join(resolved.missing)}")] if resolved.missing else []
    table = table_html(("field", "value", "source"), rows)
    return section_html("config", table, *problems, *missing, *map(note_html, resolved.notes))
