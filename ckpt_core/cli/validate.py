"""`ckpt validate`: whether a checkpoint fits what a model expects."""

from __future__ import annotations

from typing import Any

import click

from ckpt_core.cli.jsonable import jsonable
from ckpt_core.cli.options import json_option, opening_options
from ckpt_core.cli.render import emit, emit_json
from ckpt_core.opening import open_checkpoint
from ckpt_core.validation import validate as compare
from ckpt_core.validation.asked import DTYPES

__all__ = ["validate"]


@click.command(epilog="Exit codes: 0 it fits; 1 it does not; 2 an error.")
@click.argument("path")
@click.option(
    "--like", required=True, metavar="PATH",
    help="What the model expects: a template from `ckpt inspect --template`, or a checkpoint that fits.",
)  # fmt: skip
@click.option(
    "--dtypes", type=click.Choice(DTYPES), default="exact",
    help="Dtypes that differ: a problem (exact), unless nothing is lost (widen), or none (cast).",
)  # fmt: skip
@click.option(
    "--partial", multiple=True, metavar="PATTERN",
    help="Names whose differences are let through, such as 'head/**'. May be repeated.",
)  # fmt: skip
@click.option("--strip-prefix", metavar="PREFIX", help="Take a prefix off the checkpoint's names.")
@click.option(
    "--rules", multiple=True, metavar="FILE", help="Shape rules: a TOML file, or the name of a set."
)
@json_option
@opening_options
def validate(
    path: str,
    like: str,
    dtypes: str,
    partial: tuple[str, ...],
    strip_prefix: str | None,
    rules: tuple[str, ...],
    as_json: bool,
    opening: dict[str, Any],
) -> None:
    """Report every difference between a checkpoint and what a model expects, and what would make it fit.

    Only structure is read: no array, no framework.
    """
    with open_checkpoint(path, **opening) as ckpt:
        report = compare(
            ckpt, like, dtypes=dtypes, partial=partial, strip_prefix=strip_prefix, rules=rules or None
        )
    if as_json:
        emit_json(jsonable(report.as_dict()))
    else:
        emit(str(report))
    click.get_current_context().exit(0 if report.ok else 1)
