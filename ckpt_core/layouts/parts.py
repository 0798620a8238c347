"""What layouts that are written have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ckpt_core.layouts.base import Parts
from ckpt_core.tree import flatten

__all__ = ["joined_names", "only", "present", "without"]


def joined_names(*trees: Any) -> dict[str, Any]:
    """Return nested trees as one flat mapping, names joined by dots (torch's own form)."""
    table: dict[str, Any] = {}
    for tree in trees:
        if tree:
            table.update({".".join(map(str, path)): leaf for path, leaf in flatten(tree)})
    return table


def present(**entries: Any) -> dict[str, Any]:
    """Return the entries that are there."""
    return {key: value for key, value in entries.items() if value is not None and value != {}}


def only(named: Mapping[str, Any]) -> Any:
    """Return the single value of a mapping, or the mapping when there are several, or None."""
    return next(iter(named.values())) if len(named) == 1 else (dict(named) or None)


def without(parts: Parts, names: str) -> tuple[str, ...]:
    """Return the parts that are there and that a layout with places for `names` has no place for."""
    kept = set(names.split())
    return tuple(
        field.name
        for field in dataclasses.fields(Parts)
        if field.name not in kept and getattr(parts, field.name) not in (None, {}, ())
    )
