"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["json_option", "opening_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def opening_options(command: Command) -> Command:
    """Add the options that say how a checkpoint is opened."""
    for option in (
        click.option("--follow-symlinks", is_flag=True, help="Follow links that lead out of a directory."),
        click.option(
            "--verify/--no-verify",
            default=True,
            help="Check the checksums that the format carries (default).",
        ),
    ):
        command = option(command)
    return command
