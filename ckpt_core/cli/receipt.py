"""Lists of remarks, shortened: names that differ in numbers alone share a line, long lists are counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ckpt_core.cli.fold import fold_names
from ckpt_core.cli.render import clean
from ckpt_core.fit import Remark

__all__ = ["remark_lines"]

_LINES: Final = 12


def remark_lines(title: str, remarks: Sequence[Remark]) -> list[str]:
    """Return a title with the number of remarks, and the remarks below it, folded."""
    if not remarks:
        return []
    folded = fold_names([(remark.path, remark.text) for remark in remarks])
    lines = [f"{title}: {len(remarks):,}"]
    for name, count, first in folded[:_LINES]:
        times = f" ({count:,})" if count > 1 else ""
        lines.append(f"  {clean(remarks[first].text, 200)} @ {name or '(the whole)'}{times}")
    if len(folded) > _LINES:
        rest = sum(count for _, count, _ in folded[_LINES:])
        lines.append(f"  and {rest:,} more (--json has all)")
    return lines
