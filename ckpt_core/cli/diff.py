"""`ckpt diff`: what two checkpoints have in common and what not."""

from __future__ import annotations

import re
from collections.abc import Hashable
from contextlib import ExitStack
from typing import Any, Final

import click

from ckpt_core.cli.jsonable import jsonable
from ckpt_core.cli.options import json_option, opening_two_options
from ckpt_core.cli.progress import progress_bar
from ckpt_core.cli.render import clean, emit, emit_json, number_text, table, value_text
from ckpt_core.comparison import Diff, Difference
from ckpt_core.comparison import diff as compare
from ckpt_core.errors import CheckpointError
from ckpt_core.opening import open_checkpoint
from ckpt_core.rendering.folding import fold_names
from ckpt_core.schema import Checkpoint

__all__ = ["diff"]

_BY: Final = {
    "meaning": "compared by meaning, since the trees have different paths",
    "weights": "compared: parameters and buffers alone",
}
_LINES: Final = 100
_RANKED: Final = 50


@click.command(epilog="Exit codes: 0 equal; 1 different; 2 an error.")
@click.argument("a")
@click.argument("b")
@json_option
@click.option("--stats", is_flag=True, help="Rank the arrays by how far they moved.")
@click.option("--plot", metavar="FILE", help="Draw how far they moved (.png, .svg, .pdf).")
@click.option("--weights-only", is_flag=True, help="Compare parameters and buffers alone.")
@opening_two_options
def diff(
    a: str,
    b: str,
    as_json: bool,
    stats: bool,
    plot: str | None,
    weights_only: bool,
    opening_a: dict[str, Any],
    opening_b: dict[str, Any],
) -> None:
    """Compare two checkpoints leaf by leaf, bit by bit, in whatever containers they are.

    With --weights-a or --weights-b, that copy of the weights is compared, and nothing else.
    """
    if plot is not None:
        from ckpt_core.cli.plot import check_plot

        check_plot(plot)
    with ExitStack() as stack:
        first = stack.enter_context(_opened(a, "a", opening_a))
        second = stack.enter_context(_opened(b, "b", opening_b))
        report = stack.enter_context(progress_bar("comparing"))
        found = compare(
            first, second, stats=stats or plot is not None, weights_only=weights_only, progress=report
        )
    if plot is not None:
        from ckpt_core.cli.plot import draw

        draw(found, plot)
    if as_json:
        emit_json(_object(found))
    else:
        emit("\n".join(_lines(found, stats, plot)))
    click.get_current_context().exit(0 if found.is_equal else 1)


def _opened(path: str, side: str, opening: dict[str, Any]) -> Checkpoint:
    """Open one of the two; what an error says of an option is said of the one of this side."""
    try:
        return open_checkpoint(path, **opening)
    except CheckpointError as error:
        if error.remedy is not None:
            error.remedy = re.sub(r"--(format|layout|step|weights)\b", rf"--\1-{side}", error.remedy)
        raise


def _object(found: Diff) -> dict[str, Any]:
    return {
        "a": found.a,
        "b": found.b,
        "by": found.by,
        "equal": found.is_equal,
        "same": found.same,
        "differences": [
            {"path": d.path, "kind": d.kind, "a": jsonable(d.a), "b": jsonable(d.b)}
            for d in found.differences
        ],
        "movements": [
            {"path": m.path, **jsonable({"relative": m.relative, "cosine": m.cosine, "maximum": m.maximum})}
            for m in found.movements
        ],
    }


def _lines(found: Diff, stats: bool, plot: str | None) -> list[str]:
    lines = [f"a  {clean(found.a, 500)}", f"b  {clean(found.b, 500)}"]
    lines += [_BY[found.by]] if found.by in _BY else []
    if found.is_equal:
        lines.append(
            f"equal: all {found.same:,} leaves are the same"
            if found.same
            else "equal: there are no leaves in either"
        )
    else:
        lines.append(f"different: {len(found.differences):,} leaves differ, {found.same:,} are the same")
        lines += ["", *_differences(found.differences)]
    if stats:
        lines += ["", *_ranking(found)]
    if plot is not None:
        lines += ["", f"drawn: {clean(plot, 500)}"]
    return lines


def _differences(differences: tuple[Difference, ...]) -> list[str]:
    said = [_said(difference) for difference in differences]
    folded = fold_names([(d.path, text) for d, text in zip(differences, said, strict=True)])
    rows = [
        (*said[first], (name or "(the whole)") + (f"  ({count:,} leaves)" if count > 1 else ""))
        for name, count, first in folded[:_LINES]
    ]
    more = sum(count for _, count, _ in folded[_LINES:])
    return [*table(rows), *([f"  and {more:,} more (--json has all)"] if more else [])]


def _said(difference: Difference) -> tuple[str, str]:
    """What is said about a difference: what differs, and how."""
    a, b = value_text(jsonable(difference.a), 60), value_text(jsonable(difference.b), 60)
    if difference.kind == "only_a":
        return "only in a", a
    if difference.kind == "only_b":
        return "only in b", b
    return difference.kind, a if a == b else f"{a} -> {b}"


def _ranking(found: Diff) -> list[str]:
    moved = [m for m in found.movements if m.relative != 0 or m.maximum != 0]
    rows: list[tuple[Hashable, ...]] = [("relative", "cosine", "maximum", "array, the farthest moved first")]
    rows += [(*map(number_text, (m.relative, m.cosine, m.maximum)), clean(m.path)) for m in moved[:_RANKED]]
    lines = table([tuple(map(str, row)) for row in rows], right=frozenset({0, 1, 2})) if moved else []
    if len(moved) > _RANKED:
        lines.append(f"  and {len(moved) - _RANKED:,} more (--json has all)")
    still = len(found.movements) - len(moved)
    return [*lines, f"{len(moved):,} arrays of one shape moved, {still:,} did not"]
