"""`ckpt hash`: one digest for the same weights, in whatever container they are."""

from __future__ import annotations

from typing import Any

import click

from ckpt_core.cli.options import json_option, opening_options
from ckpt_core.cli.progress import progress_bar
from ckpt_core.cli.render import clean, emit, emit_json
from ckpt_core.hashing import combined_hash, hash_leaves
from ckpt_core.opening import open_checkpoint

__all__ = ["hash_command"]


@click.command("hash", epilog="Exit codes: 0 done; 2 an error.")
@click.argument("path")
@json_option
@click.option("--each", is_flag=True, help="Also print the digest of each array.")
@opening_options
def hash_command(path: str, as_json: bool, each: bool, opening: dict[str, Any]) -> None:
    """Print the SHA-256 of all weights: names, dtypes, shapes and bytes, in the order of the names.

    Equal weights have equal digests in any container; optimizer, counters and config do not count.
    """
    with open_checkpoint(path, **opening) as ckpt, progress_bar("hashing") as report:
        leaves = hash_leaves(ckpt, report)
    digest = combined_hash(leaves)
    if not leaves:
        click.echo("note: there are no weights in it; this is the digest of nothing", err=True)
    if as_json:
        listed = {"leaves": [{"path": name, "sha256": one} for name, one in leaves]} if each else {}
        emit_json(
            {"path": ckpt.path, "format": ckpt.format, "sha256": digest, "count": len(leaves), **listed}
        )
        return
    lines = [f"{one}  {clean(name, 500)}" for name, one in leaves] if each else []
    emit("\n".join([*lines, f"{digest}  {clean(path, 1000)}"]))
