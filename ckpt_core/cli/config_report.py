"""What `ckpt config --json` says: the whole report as one JSON object."""

from __future__ import annotations

from typing import Any

from ckpt_core.cli.jsonable import jsonable
from ckpt_core.config import ResolvedConfig, Structure

__all__ = ["report_json"]


def report_json(resolved: ResolvedConfig) -> dict[str, Any]:
    """Return the whole report as one JSON object."""
    structure = resolved.structure or Structure()
    return {
        "config": jsonable(resolved.config),
        "provenance": {
            name: {**_given(origin), "overruled": [_given(other) for other in origin.overruled]}
            for name, origin in resolved.provenance.items()
        },
        "conflicts": [
            {
                "text": str(one),
                "equation": one.equation,
                "where": one.where,
                "field": one.field or None,
                "given": None if one.given is None else _given(one.given),
                "correct": one.correct,
            }
            for one in resolved.conflicts
        ],
        "undecided": [
            {
                "equations": list(group.equations),
                "solutions": [dict(row) for row in group.solutions],
                "complete": group.is_complete,
            }
            for group in resolved.undecided
        ],
        "not_inferable": dict(resolved.not_inferable),
        "hints": [{"number": hint.number, "fits": list(hint.fields)} for hint in resolved.hints],
        "structure": {
            "blocks": [
                {"pattern": one.pattern, "count": one.count, "alike": one.are_alike}
                for one in structure.blocks
            ],
            "embeddings": [
                {"name": one.name, "entries": one.entries, "width": one.width} for one in structure.embeddings
            ],
            "sizes": [{"size": size, "arrays": count} for size, count in structure.hidden_sizes],
        },
        "rules": list(resolved.rules),
        "notes": list(resolved.notes),
    }


def _given(one: Any) -> dict[str, Any]:
    return {"value": jsonable(one.value), "source": one.source, "where": one.where}
