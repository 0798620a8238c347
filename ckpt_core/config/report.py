"""A resolved config as text: each field with its source, and everything that does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

from ckpt_core.config.result import Origin, ResolvedConfig, Undecided
from ckpt_core.config.structure import Structure
from ckpt_core.rendering.text import clean, table, value_text

__all__ = ["report_lines"]

_FIELDS: Final = 300
_SOLUTIONS: Final = 8
_ROWS: Final = 20


def report_lines(resolved: ResolvedConfig) -> list[str]:
    """Return the report for people."""
    lines = _fields(resolved.provenance)
    if resolved.conflicts:
        lines.append("contradictions")
        lines += [f"  {clean(str(one), 400)} @ {clean(one.where)}" for one in resolved.conflicts[:_ROWS]]
    for group in resolved.undecided:
        lines += _undecided(group)
    lines += _named("not inferable from shapes", resolved.not_inferable)
    for hint in resolved.hints:
        lines.append(f"hint: {hint.number} in the file's name fits {', '.join(map(clean, hint.fields))}")
    if resolved.structure is not None and not resolved.facts:
        lines += _structure(resolved.structure)
    lines += [f"note: {clean(note, 500)}" for note in resolved.notes[:_ROWS]]
    return lines


def _fields(provenance: Mapping[str, Origin]) -> list[str]:
    if not provenance:
        return ["no config is saved, and no shape rule says anything about one"]
    rows = [(clean(name), _value(o.value, 60), _source(o)) for name, o in provenance.items()]
    more = [f"  and {len(rows) - _FIELDS:,} more (--json has all)"] if len(rows) > _FIELDS else []
    return [*table(rows[:_FIELDS]), *more]


def _source(origin: Origin) -> str:
    where = f"  {clean(origin.where, 160)}" if origin.where else ""
    others = ", ".join(f"{_value(o.value, 30)} ({o.source})" for o in origin.overruled[:3])
    return f"{origin.source}{where}{f'; not {others}' if others else ''}"


def _undecided(group: Undecided) -> list[str]:
    count = len(group.solutions)
    if not count:
        return [f"undecided: {clean('; '.join(group.equations[:4]), 300)}"]
    least = "" if group.is_complete else "at least "
    lines = [f"undecided: {clean('; '.join(group.equations[:4]), 300)} has {least}{count} solutions"]
    for row in group.solutions[:_SOLUTIONS]:
        lines.append("  " + ", ".join(f"{clean(name)} = {value}" for name, value in row.items()))
    if count > _SOLUTIONS:
        lines.append(f"  and {count - _SOLUTIONS} more (--json has all)")
    return lines


def _named(title: str, rows: Mapping[str, str]) -> list[str]:
    if not rows:
        return []
    shown = table([(clean(name), clean(reason, 200)) for name, reason in list(rows.items())[:_ROWS]])
    more = [f"  and {len(rows) - _ROWS} more (--json has all)"] if len(rows) > _ROWS else []
    return [title, *shown, *more]


def _structure(found: Structure) -> list[str]:
    rows = [
        ("blocks", clean(one.pattern), f"{one.count}{'' if one.are_alike else ' of different shapes'}")
        for one in found.blocks[:_ROWS]
    ]
    rows += [
        ("embedding", clean(one.name), f"{one.entries} x {one.width}") for one in found.embeddings[:_ROWS]
    ]
    rows += [("size", str(size), f"an axis of {count} arrays") for size, count in found.hidden_sizes]
    return ["without rules, the names and shapes say", *table(rows)] if rows else []


def _value(value: Any, limit: int) -> str:
    """A value as it would be typed: text without quotes, unless it begins or ends with a blank."""
    text = str(value) if isinstance(value, PurePath) else value
    is_bare = isinstance(text, str) and text.strip() == text and text != ""
    return clean(text if is_bare else value_text(value), limit)
