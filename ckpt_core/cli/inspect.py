"""`ckpt inspect`: what is in a checkpoint."""

from __future__ import annotations

import re
from typing import Any, Final

import click

from ckpt_core.cli.claims import claim_lines
from ckpt_core.cli.fold import branch_of, tree_rows
from ckpt_core.cli.options import json_option, opening_options
from ckpt_core.cli.progress import progress_bar
from ckpt_core.cli.redact import redacted, redacted_error
from ckpt_core.cli.render import (
    arrays_text,
    clean,
    count_text,
    emit,
    emit_json,
    number_text,
    size_text,
    spec_text,
    table,
    time_text,
    value_text,
)
from ckpt_core.cli.summary import filtered, stats_of, summary_of
from ckpt_core.cli.template import write_template
from ckpt_core.errors import CheckpointError
from ckpt_core.layouts.base import RAW
from ckpt_core.opening import open_checkpoint
from ckpt_core.rendering.folding import fold_names

__all__ = ["inspect"]

_ROWS: Final = 200
_STATS_ROWS: Final = 1000
_OTHERS: Final = 20


@click.command(epilog="Exit codes: 0 done; 1 with --stats, there are NaN or infinite values; 2 an error.")
@click.argument("path")
@json_option
@click.option("--depth", type=click.IntRange(min=1), help="Levels of the tree to show.")
@click.option(
    "--filter", "patterns", multiple=True, metavar="PATTERN",
    help="Only weights whose names fit, such as 'encoder/**', '*.bias' or 'attn'. May be repeated.",
)  # fmt: skip
@click.option("--stats", is_flag=True, help="Read all bytes: NaN, infinities, all-zero arrays, norms.")
@click.option(
    "--template", metavar="FILE",
    help="Write names, shapes and dtypes as JSON for `ckpt validate --like` ('-' for stdout), and show nothing.",
)  # fmt: skip
@click.option("--redact", is_flag=True, help="Hide paths and values, for a bug report.")
@opening_options
def inspect(
    path: str,
    as_json: bool,
    depth: int | None,
    patterns: tuple[str, ...],
    stats: bool,
    template: str | None,
    redact: bool,
    opening: dict[str, Any],
) -> None:
    """Show what is in a checkpoint: counters, metrics, config, optimizer, and the tree of its weights."""
    if template is not None:
        write_template(path, opening, template)
        return
    try:
        summary = _summary(path, opening, patterns, stats)
    except CheckpointError as error:
        raise redacted_error(error, path) if redact else error from None
    if redact:
        summary = redacted(summary)
    if as_json:
        emit_json(summary)
    else:
        emit("\n".join(_lines(summary, depth)))
    if any(row["nan"] or row["infinite"] for row in summary.get("stats", ())):
        click.get_current_context().exit(1)


def _summary(path: str, opening: dict[str, Any], patterns: tuple[str, ...], stats: bool) -> dict[str, Any]:
    with open_checkpoint(path, **opening) as ckpt:
        try:
            summary = summary_of(ckpt)
            if patterns:
                summary = filtered(summary, patterns)
            if stats:
                with progress_bar("reading") as report:
                    summary["stats"] = stats_of(ckpt, patterns, report)
        except CheckpointError as error:
            raise error.located(path) from None
    return summary


# Text for people.


def _lines(summary: dict[str, Any], depth: int | None) -> list[str]:
    lines = [clean(summary["path"], 1000), *table(_header(summary))]
    for title, section in _sections(summary):
        lines += ["", _section_title(title, section), *_tree(section, depth)]
    lines += _dtypes(summary)
    lines += _tied(summary["tied"])
    lines += claim_lines(summary["claims"])
    if "stats" in summary:
        lines += _stats(summary["stats"])
    return lines


def _header(summary: dict[str, Any]) -> list[tuple[str, str]]:
    size = summary["file_bytes"]
    rows = [
        ("format", clean(summary["format"])),
        ("layout", clean(summary["layout"] or "not recognised")),
        *_weights(summary),
        ("size", size_text(size) if size is not None else "very many files"),
        *((name, _or_none(summary[name])) for name in ("step", "epoch")),
        ("time", "none saved" if summary["timestamp"] is None else time_text(summary["timestamp"])),
        *_titled("metrics", _settings(summary["metrics"])),
        *_titled("config", _settings(summary["config"])),
    ]
    for name, state in summary["opt_states"].items():
        rows += _titled("optimizer" if len(summary["opt_states"]) == 1 else clean(name), _optimizer(state))
    rows += _titled("other", _others(summary["metadata"]), none=False)
    rows += [("note", clean(note, 500)) for note in summary["metadata"]["notes"][:_OTHERS]]
    return rows


def _weights(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Which copy of the weights is shown as params, where there are several, or one that is averaged."""
    others = ", ".join(map(clean, summary["ema"]))
    if not others and summary["weights"] == RAW:
        return []
    choice = f"; there is also {others} (--weights)" if others else ""
    return [("weights", clean(summary["weights"]) + choice)]


def _or_none(value: Any) -> str:
    return "none saved" if value is None else value_text(value)


def _titled(title: str, lines: list[str], none: bool = True) -> list[tuple[str, str]]:
    if not lines:
        return [(title, "none saved")] if none else []
    return [(title if i == 0 else "", line) for i, line in enumerate(lines)]


def _settings(values: dict[str, Any]) -> list[str]:
    """Nested settings as one `a.b = value` line each."""
    found: list[tuple[str, Any]] = []
    stack: list[tuple[str, Any]] = [(key, value) for key, value in reversed(values.items())]
    while stack:
        name, value = stack.pop()
        if isinstance(value, dict) and value and value.keys() != {"shape", "dtype", "nbytes"}:
            stack.extend((f"{name}.{key}", child) for key, child in reversed(value.items()))
        else:
            found.append((name, value))
    lines = [f"{clean(name)} = {value_text(value)}" for name, value in found[:_ROWS]]
    return lines + ([f"and {len(found) - _ROWS:,} more (--json has all)"] if len(found) > _ROWS else [])


def _optimizer(state: dict[str, Any]) -> list[str]:
    kind = " or ".join(map(clean, state["kind"][:4])) + (" or the like" if len(state["kind"]) > 4 else "")
    lines = [kind or "of an unknown kind"]
    if state["step"] is not None:
        lines[0] += f", step {value_text(state['step'])}"
    if state["groups"] > 1:
        lines[0] += f", {state['groups']:,} parameter groups (the first one's settings are shown)"
    lines += _settings(state["hyperparams"])
    for name, slot in list(state["slots"].items())[:_OTHERS]:
        lines.append(f"{clean(name)}: {arrays_text(slot['count'])}, {size_text(slot['bytes'])}")
    if state["other"]:
        more = ", ..." if len(state["other"]) > _OTHERS else ""
        lines.append(f"also: {', '.join(map(clean, state['other'][:_OTHERS]))}{more}")
    return lines + [f"note: {clean(note, 500)}" for note in state["notes"][:_OTHERS]]


def _others(metadata: dict[str, Any]) -> list[str]:
    """What was saved besides: schedulers, random states, unclaimed entries, the container's metadata."""
    named = [(name, metadata[name]) for name in ("schedulers", "scaler", "rng") if metadata[name]]
    named += _folded(metadata["extra"])
    named += [(f"attribute {key}", value) for key, value in metadata["attributes"].items()]
    lines = [f"{clean(name)}: {value_text(value)}" for name, value in named[:_OTHERS]]
    return lines + ([f"and {len(named) - _OTHERS:,} more (--json has all)"] if len(named) > _OTHERS else [])


def _folded(extra: dict[str, Any]) -> list[tuple[str, Any]]:
    """Entries that no role claims; where what is around them is claimed, those below one key are one line."""
    groups: dict[str, list[str]] = {}
    for path in extra:
        groups.setdefault(re.split(r"(?<!\\)/", path, maxsplit=1)[0], []).append(path)
    rows: list[tuple[str, Any]] = []
    for first, paths in groups.items():
        if len(paths) == 1:
            rows.append((paths[0] or "(the whole)", extra[paths[0]]))
        else:
            rows.append((first, f"{len(paths):,} entries of it"))
    return rows


def _sections(summary: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    sections = [("params", summary["params"])]
    if summary["buffers"]["count"]:
        sections.append(("buffers", summary["buffers"]))
    return sections + [
        (f"{name} (another copy)", section) for name, section in summary["ema"].items() if section["count"]
    ]


def _section_title(title: str, section: dict[str, Any]) -> str:
    size = f"{count_text(section['elements'])} elements, {size_text(section['bytes'])}"
    return f"{clean(title)}: {arrays_text(section['count'])}, {size}"


def _tree(section: dict[str, Any], depth: int | None) -> list[str]:
    return table(tree_rows(branch_of(section["leaves"]), depth), right=frozenset({3}))


def _dtypes(summary: dict[str, Any]) -> list[str]:
    totals: dict[str, list[int]] = {}
    for _, section in _sections(summary):
        for leaf in section["leaves"]:
            total = totals.setdefault(leaf["dtype"], [0, 0])
            total[0] += 1
            total[1] += leaf["nbytes"]
    rows = [(dtype, arrays_text(count), size_text(nbytes)) for dtype, (count, nbytes) in totals.items()]
    return ["", "dtypes", *table(rows, right=frozenset({1, 2}))] if rows else []


def _tied(groups: list[list[str]]) -> list[str]:
    if not groups:
        return []
    shown = fold_names(
        [(" = ".join(group[:6]) + (" = ..." if len(group) > 6 else ""), len(group)) for group in groups]
    )
    lines = [f"  {name}" + (f"  x {count:,}" if count > 1 else "") for name, count, _ in shown[:_OTHERS]]
    more = [f"  and {len(shown) - _OTHERS:,} more (--json has all)"] if len(shown) > _OTHERS else []
    return ["", "tied (one storage)", *lines, *more]


def _stats(rows: list[dict[str, Any]]) -> list[str]:
    bad = [row for row in rows if row["nan"] or row["infinite"]]
    zero = [row for row in rows if row["all_zero"]]
    ordered = bad + [row for row in rows if not (row["nan"] or row["infinite"])]
    head = ("name", "array", "norm", "mean", "min", "max", "")
    body = [
        (
            clean(row["path"]),
            spec_text(row),
            *(number_text(row[key]) for key in ("norm", "mean", "min", "max")),
            _flags(row),
        )
        for row in ordered[:_STATS_ROWS]
    ]
    more = [f"  and {len(rows) - _STATS_ROWS:,} more (--json has all)"] if len(rows) > _STATS_ROWS else []
    nan, infinite = sum(row["nan"] for row in rows), sum(row["infinite"] for row in rows)
    verdict = (
        f"{len(bad):,} of {len(rows):,} arrays hold {nan:,} NaN and {infinite:,} infinite values"
        if bad
        else f"all {len(rows):,} arrays are finite"
    )
    return [
        "",
        "stats",
        *table([head, *body], right=frozenset({2, 3, 4, 5})),
        *more,
        "",
        f"{verdict}; {len(zero):,} are all zero",
    ]


def _flags(row: dict[str, Any]) -> str:
    flags = [f"{row[key]:,} {word}" for key, word in (("nan", "NaN"), ("infinite", "infinite")) if row[key]]
    return ", ".join(flags + (["all zero"] if row["all_zero"] else []))
