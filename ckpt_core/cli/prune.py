"""`ckpt prune`: remove checkpoints that no rule keeps; a dry run unless told --yes."""

from __future__ import annotations

import click

from ckpt_core.cli.options import json_option
from ckpt_core.cli.render import clean, emit, emit_json, size_text, table
from ckpt_core.runs import Pruning, Run

__all__ = ["prune"]


@click.command(epilog="Exit codes: 0 done; 2 an error.")
@click.argument("path")
@json_option
@click.option("--keep-last", type=click.IntRange(min=0), metavar="N", help="Keep the last N.")
@click.option("--keep-best", type=click.IntRange(min=0), metavar="N", help="Keep the best N by --metric.")
@click.option("--every", type=click.IntRange(min=1), metavar="N", help="Keep each N-th epoch (or step).")
@click.option("--metric", help="The metric that says which are the best.")
@click.option("--mode", type=click.Choice(["min", "max"]), help="Which way the metric is better.")
@click.option("--comment", metavar="WORDS", help="Only checkpoints whose names have these words.")
@click.option("--yes", is_flag=True, help="Really remove; without it nothing is.")
def prune(
    path: str,
    as_json: bool,
    keep_last: int | None,
    keep_best: int | None,
    every: int | None,
    metric: str | None,
    mode: str | None,
    comment: str | None,
    yes: bool,
) -> None:
    """Remove the periodic checkpoints of a run that no rule keeps.

    The latest, the best, those with a role by their names (best, final, last), and whatever is damaged, unfinished
    or not recognised always stay.
    """
    run = Run(path, comment=comment)
    done = run.prune(keep_last=keep_last, keep_best=keep_best, every=every, metric=metric, mode=mode, yes=yes)
    if as_json:
        emit_json(
            {
                "path": run.path,
                "done": done.done,
                "kept": [{"name": entry.name, "reason": reason} for entry, reason in done.kept],
                "removed": [entry.name for entry in done.removed],
                "freed": done.freed,
            }
        )
    else:
        emit("\n".join(_lines(run.path, done)))


def _lines(path: str, done: Pruning) -> list[str]:
    rows = [("keep", clean(entry.name), clean(reason)) for entry, reason in done.kept]
    rows += [("remove", clean(entry.name), size_text(entry.size)) for entry in done.removed]
    count = len(done.removed)
    what = f"{count} checkpoint{'' if count == 1 else 's'}, {size_text(done.freed)}"
    verdict = f"removed {what}" if done.done else f"would remove {what}; nothing was touched (--yes removes)"
    return [clean(path, 1000), *table(rows), "", verdict if count else "nothing to remove"]
