"""`ckpt convert`: another container for the same tree."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from ckpt_core.cli.jsonable import jsonable
from ckpt_core.cli.options import json_option, source_options
from ckpt_core.cli.progress import progress_bar
from ckpt_core.cli.receipt import remark_lines
from ckpt_core.cli.render import arrays_text, clean, duration_text, emit, emit_json, size_text
from ckpt_core.conversion import Receipt
from ckpt_core.conversion import convert as convert_checkpoint

__all__ = ["convert"]


@click.command(
    epilog="Exit codes: 0 done; 2 an error, and the target is as it was; 130 interrupted, likewise."
)
@click.argument("source")
@click.argument("target")
@click.option("--to", help="The target format; without it the target's suffix decides.")
@click.option(
    "--only",
    multiple=True,
    metavar="PART",
    help="params, buffers, weights, ema, or the name of a copy of the weights. May be repeated.",
)
@click.option(
    "--select", multiple=True, metavar="PATTERN", help="Names to keep, such as 'encoder/**'. May be repeated."
)
@click.option(
    "--strip-prefix", metavar="PREFIX", help="Remove a prefix from the weights' names, such as 'module'."
)
@click.option("--cast", metavar="DTYPE", help="A floating-point dtype for the weights, such as bf16.")
@click.option("--layout", help="Arrange the target as this layout (see `ckpt backends`).")
@click.option(
    "--unreplicate", is_flag=True, help="Write one copy of leaves that pmap replicated, once proven equal."
)
@click.option(
    "--max-shard-size", metavar="SIZE", help="Write shards of at most this size, such as 5GB, and an index."
)
@click.option("--strict", is_flag=True, help="Anything that the target cannot hold is an error.")
@click.option("--force", is_flag=True, help="Replace an existing target.")
@source_options
@json_option
def convert(
    source: str,
    target: str,
    to: str | None,
    only: tuple[str, ...],
    select: tuple[str, ...],
    strip_prefix: str | None,
    cast: str | None,
    layout: str | None,
    unreplicate: bool,
    max_shard_size: str | None,
    strict: bool,
    force: bool,
    opening: dict[str, Any],
    as_json: bool,
) -> None:
    """Write SOURCE into another container, TARGET: every name, shape, dtype and byte stays.

    What the target cannot hold natively travels in its metadata; what fits neither is listed as lost.
    """
    with progress_bar("converting") as report:
        receipt = convert_checkpoint(
            source,
            target,
            to=to,
            only=only,
            select=select,
            strip_prefix=strip_prefix,
            cast=cast,
            layout=layout,
            unreplicate=unreplicate,
            strict=strict,
            force=force,
            progress=report,
            options={} if max_shard_size is None else {"max_shard_size": max_shard_size},
            **_named_for_convert(opening),
        )
    if as_json:
        emit_json(jsonable(dataclasses.asdict(receipt)))
    else:
        emit("\n".join(_lines(receipt)))


def _named_for_convert(opening: dict[str, Any]) -> dict[str, Any]:
    return {("source_layout" if name == "layout" else name): value for name, value in opening.items()}


def _lines(receipt: Receipt) -> list[str]:
    speed = int(receipt.nbytes / max(receipt.seconds, 1e-6))
    lines = [
        f"{clean(receipt.source, 500)} ({receipt.source_format}) -> {clean(receipt.target, 500)} ({receipt.target_format})",
        f"{arrays_text(receipt.arrays)}, {size_text(receipt.nbytes)} in {duration_text(receipt.seconds)} ({size_text(speed)}/s)",
    ]
    lines += remark_lines("carried in the target's metadata, and restored from it", receipt.carried)
    lines += remark_lines("LOST, the target cannot hold it", receipt.losses)
    lines += remark_lines("left behind by request", receipt.left)
    lines += [f"note: {clean(note, 500)}" for note in receipt.notes[:20]]
    return lines
