"""Lists of remarks, shortened: names that differ in numbers alone share a line, long lists are summed up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ckpt_core.cli.render import clean
from ckpt_core.fitting.ledger import Remark
from ckpt_core.rendering.folding import fold_names

__all__ = ["remark_lines"]

_LINES: Final = 12


def remark_lines(title: str, remarks: Sequence[Remark]) -> list[str]:
    """Return a title with the number of remarks, and the remarks below it.

    Remarks that say the same about names that differ in numbers alone share a line; where these are still
    too many, all that say the same below one top-level entry do.
    """
    if not remarks:
        return []
    said = [(remark.path or "(the whole)", remark.text) for remark in remarks]
    folded = fold_names(said)
    if len(folded) > _LINES:
        folded = fold_names([(_top(path), text) for path, text in said])
    lines = [f"{title}: {len(remarks):,}"]
    for name, count, first in folded[:_LINES]:
        times = f"  ({count:,})" if count > 1 else ""
        lines.append(f"  {clean(said[first][1], 200)} @ {name}{times}")
    if len(folded) > _LINES:
        rest = sum(count for _, count, _ in folded[_LINES:])
        lines.append(f"  and {rest:,} more (--json has all)")
    return lines


def _top(path: str) -> str:
    top, slash, _ = path.partition("/")
    return top + ("/..." if slash else "")
