"""`ckpt explain`: the cause of a framework's own error, and what to do."""

from __future__ import annotations

import sys

import click

from ckpt_core.cli.jsonable import jsonable
from ckpt_core.cli.options import json_option
from ckpt_core.cli.render import emit, emit_json
from ckpt_core.errors import UsageError
from ckpt_core.validation import explain as explained

__all__ = ["explain"]

_MOST = 1 << 20


@click.command(epilog="Exit codes: 0 explained; 1 the error is not known here; 2 an error.")
@click.argument("path")
@click.option(
    "--error", metavar="TEXT",
    help="What the framework said; without it, stdin is read: python train.py 2>&1 | ckpt explain PATH.",
)  # fmt: skip
@click.option(
    "--rules", multiple=True, metavar="FILE", help="Shape rules: a TOML file, or the name of a set."
)
@json_option
def explain(path: str, error: str | None, rules: tuple[str, ...], as_json: bool) -> None:
    """Explain an error that torch, Flax, Orbax, safetensors or pickle raised over a checkpoint.

    It says the cause, the likely field of the configuration, and the command that helps.
    """
    text = error if error is not None else _stdin()
    if not text.strip():
        raise UsageError("there is no error text", remedy="Pass --error TEXT, or pipe the output in.")
    found = explained(text, path, rules=rules or None)
    if as_json:
        emit_json(jsonable(found.as_dict()))
    else:
        emit(str(found))
    click.get_current_context().exit(0 if found.is_known else 1)


def _stdin() -> str:
    if sys.stdin.isatty():
        return ""
    return sys.stdin.buffer.read(_MOST).decode("utf-8", "replace")
