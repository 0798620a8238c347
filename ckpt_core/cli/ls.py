"""`ckpt ls`: the checkpoints of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from ckpt_core.cli.jsonable import jsonable
from ckpt_core.cli.options import json_option
from ckpt_core.cli.render import emit, emit_json
from ckpt_core.errors import CheckpointNotFoundError, UsageError
from ckpt_core.runs import Run, Selection
from ckpt_core.runs.entry import Entry
from ckpt_core.runs.listing_text import listing_text
from ckpt_core.runs.metrics import direction
from ckpt_core.runs.select import ranked

__all__ = ["entry_object", "ls"]


@click.command(epilog="Exit codes: 0 done; 2 an error, such as a directory that holds no checkpoint.")
@click.argument("path", default=".")
@json_option
@click.option("--best", metavar="METRIC", help="Sort by a metric, number, and mark the best.")
@click.option("--mode", type=click.Choice(["min", "max"]), help="Which way the metric is better.")
@click.option(
    "--prefer", multiple=True, metavar="NAME", help="Choose this name, pattern or role if it is there."
)
@click.option("--select", "wanted", metavar="PATH", help="Choose this path if it is there.")
@click.option("--comment", metavar="WORDS", help="Only checkpoints whose names have these words.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the metrics as CSV.")
def ls(
    path: str,
    as_json: bool,
    best: str | None,
    mode: str | None,
    prefer: tuple[str, ...],
    wanted: str | None,
    comment: str | None,
    as_csv: bool,
) -> None:
    """List the checkpoints of a directory, of any format: counters, metrics, size, time, and what is damaged.

    One of them is marked: the one at --select, else the first --prefer, else the --best, else the latest. Only
    structure is read. A figure in parentheses is from the name, the file being silent.
    """
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other")
    run = Run(path, comment=comment)
    entries = run.entries
    chosen = _chosen(run, wanted, prefer, best, mode)
    ordered = _ranked(entries, best, mode)
    if as_csv:
        emit(run.metrics().csv())
    elif as_json:
        emit_json(_object(run, ordered, chosen))
    else:
        emit(listing_text(run, ordered, chosen, best))


def _chosen(
    run: Run, wanted: str | None, prefer: Sequence[str], best: str | None, mode: str | None
) -> Selection | None:
    """The choice; None where everything is damaged, which the listing then shows."""
    try:
        if best is not None and any(entry.is_whole for entry in run.entries):
            run.best(best, mode)  # a metric that is not there is an error here: it was asked for by name
        return run.select(path=wanted, prefer=prefer, best=best, mode=mode)
    except CheckpointNotFoundError:
        if not run.entries or any(entry.is_whole for entry in run.entries):
            raise
        return None


def _ranked(entries: Sequence[Entry], best: str | None, mode: str | None) -> list[Entry]:
    if best is None or not any(entry.is_whole for entry in entries):
        return list(entries)
    first = ranked(entries, best, mode)
    return [*first, *(entry for entry in entries if entry not in first)]


# JSON.


def _object(run: Run, entries: Sequence[Entry], chosen: Selection | None) -> dict[str, Any]:
    selection = None
    if chosen is not None:
        selection = {
            "name": chosen.entry.name,
            "path": chosen.path,
            "rule": chosen.rule,
            "reason": chosen.reason,
            "passed_over": list(chosen.passed_over),
        }
    metrics = {name: direction(name) for entry in entries for name in entry.metrics}
    return {
        "path": run.path,
        "chosen": selection,
        "entries": [entry_object(entry) for entry in entries],
        "metrics": metrics,
        "notes": list(run.notes),
    }


def entry_object(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON."""
    fields = (
        "name path state reason format layout step epoch part number metrics running_bests config size time role "
        "comment has_weights has_optimizer sources same_as linked"
    )
    return {name: jsonable(getattr(entry, name)) for name in fields.split()}
