"""Which role stands where in a tree, by the word of which layout: as JSON, and as lines."""

from __future__ import annotations

from typing import Any, Final

from ckpt_core.cli.render import clean, table
from ckpt_core.layouts import Leaves
from ckpt_core.layouts.base import paths_of
from ckpt_core.schema import Checkpoint
from ckpt_core.schema.claims import Claim
from ckpt_core.tree import render_path

__all__ = ["claim_lines", "claim_rows"]

_SHOWN: Final = 4


def claim_rows(ckpt: Checkpoint) -> list[dict[str, Any]]:
    """Return one row for each claim: role, name, path (or the paths of single leaves), layout."""
    return [_row(claim) for claim in ckpt.claims]


def _row(claim: Claim) -> dict[str, Any]:
    about = {"role": claim.role, "name": claim.name, "layout": claim.row or None}
    if isinstance(claim.place, Leaves):
        return {**about, "path": None, "leaves": [render_path(path) for path in paths_of(claim.place)]}
    return {**about, "path": render_path(claim.place)}


def claim_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for each role and layout; none where one layout gave the whole tree one role."""
    if len(rows) < 2 and all(row["path"] == "" for row in rows):
        return []
    together: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        together.setdefault((row["role"], row["layout"] or "no layout"), []).append(_where(row))
    lines = [(role, layout, _listed(places)) for (role, layout), places in together.items()]
    return ["", "claims: role, layout, place in the tree", *table(lines)]


def _where(row: dict[str, Any]) -> str:
    if row["path"] is not None:
        return clean(row["path"] or "(the whole)", 60)
    first, *others = row["leaves"]
    return clean(first, 60) + (f" and {len(others):,} more leaves" if others else "")


def _listed(places: list[str]) -> str:
    more = f", and {len(places) - _SHOWN:,} more" if len(places) > _SHOWN else ""
    return ", ".join(places[:_SHOWN]) + more
