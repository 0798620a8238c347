"""`ckpt config`: the configuration behind a checkpoint, with the source of each value."""

from __future__ import annotations

import ast
import warnings
from typing import Any

import click

from ckpt_core.cli.config_formats import FORMATS, config_text
from ckpt_core.cli.config_report import report_json
from ckpt_core.cli.options import config_options, json_option
from ckpt_core.cli.progress import progress_bar
from ckpt_core.cli.render import clean, emit, emit_json
from ckpt_core.config import NONE, ConfigWarning, ResolvedConfig, resolve_config, write_config
from ckpt_core.config.conflicts import corrections
from ckpt_core.errors import UsageError
from ckpt_core.opening import open_checkpoint

__all__ = ["config"]


@click.command(
    epilog="Exit codes: 0 done; 1 a value contradicts the shapes of the weights, and nothing was written; 2 an error."
)
@click.argument("path")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE",
    help="Give a value, such as slot_iterations=5. May be repeated.",
)  # fmt: skip
@click.option(
    "--defaults", metavar="FILE", help="Defaults: JSON, YAML, TOML, or the constants of a Python file."
)
@click.option(
    "--rules", multiple=True, metavar="FILE", help="Shape rules: a TOML file, or the name of a set."
)
@click.option("--correct", is_flag=True, help="Where a value contradicts the shapes, take what they give.")
@click.option("--format", "shown", type=click.Choice(FORMATS), help="Print the config alone, in this form.")
@click.option("--write", metavar="OUT", help="Write a copy of the checkpoint that carries this config.")
@click.option("--force", is_flag=True, help="Replace an existing OUT.")
@config_options
@json_option
@click.pass_context
def config(
    ctx: click.Context,
    path: str,
    settings: tuple[str, ...],
    defaults: str | None,
    rules: tuple[str, ...],
    correct: bool,
    shown: str | None,
    write: str | None,
    force: bool,
    as_json: bool,
    opening: dict[str, Any],
) -> None:
    """Show the configuration of a checkpoint: saved, inferred from the shapes of its weights, or set.

    Every value is shown with its source: an explicit --set, the checkpoint, a config file beside it, shape rules, or
    --defaults, in this order.
    """
    asked: dict[str, Any] = {
        "overrides": dict(_setting(text) for text in settings),
        "defaults": defaults,
        "rules": rules or None,
    }
    with open_checkpoint(path, **opening) as ckpt:
        resolved = resolve_config(ckpt, **asked, on_conflict="report")
        is_agreed = not resolved.conflicts
        if correct and corrections(resolved.conflicts):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConfigWarning)  # it is said below
                resolved, is_agreed = resolve_config(ckpt, **asked, on_conflict="correct"), True
        if write is not None and is_agreed:
            with progress_bar("writing") as report:
                write_config(ckpt, write, resolved, force=force, progress=report)
    _show(resolved, shown, as_json, {"path": path, "written": write if is_agreed else None})
    if shown is not None:  # stdout is for a program; the others have it in the report
        for conflict in resolved.conflicts[:20]:
            click.echo(f"{'corrected' if is_agreed else 'conflict'}: {clean(str(conflict), 400)}", err=True)
    if not is_agreed:
        _advise(resolved, write)
        ctx.exit(1)


def _show(resolved: ResolvedConfig, shown: str | None, as_json: bool, about: dict[str, Any]) -> None:
    if as_json:
        emit_json({**about, **report_json(resolved)})
    elif shown is not None:
        emit(config_text(resolved, shown))
        if about["written"]:
            click.echo(f"written to {clean(about['written'], 500)}", err=True)
    else:
        emit(str(resolved))
        if about["written"]:
            emit(f"written to {clean(about['written'], 500)}")


def _advise(resolved: ResolvedConfig, write: str | None) -> None:
    """Say what to do about conflicts."""
    fixes = corrections(resolved.conflicts)
    if fixes:
        options = " ".join(f"--set {name}={value}" for name, value in fixes.items())
        click.echo(f"  {clean(options, 400)} agrees, and so does --correct", err=True)
    if write is not None:
        click.echo(f"  {clean(write, 500)} was not written", err=True)


def _setting(text: str) -> tuple[str, Any]:
    """Split NAME=VALUE; the value is a Python or JSON literal where it is one, else text."""
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise UsageError(f"--set takes NAME=VALUE, not {text!r}")
    words = {"null": NONE, "none": NONE, "true": True, "false": False}
    if value.strip().lower() in words:
        return name.strip(), words[value.strip().lower()]
    try:
        return name.strip(), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return name.strip(), value
