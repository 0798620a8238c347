"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

__all__ = ["config_options", "json_option", "opening_options", "opening_two_options", "source_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

_OF_ONE: Final[dict[str, dict[str, Any]]] = {
    "format": {"help": "The format{}, where two backends claim the file."},
    "layout": {"help": "The layout{}, where the recognised one is not meant (see `ckpt backends`)."},
    "step": {"type": int, "help": "The step{} to open, where it is a directory of steps."},
    "weights": {
        "metavar": "COPY",
        "help": "Which copy of the weights{} is meant: raw, ema, or the name of an averaged copy.",
    },
}
"""What `open_checkpoint` takes and what is said of it."""

_OF_ALL: Final[dict[str, dict[str, Any]]] = {
    "verify/--no-verify": {
        "default": True,
        "help": "Check the checksums that the format carries (default).",
    },
    "follow-symlinks": {"is_flag": True, "help": "Follow links that lead out of a directory."},
}


def opening_options(command: Command) -> Command:
    """Add the options that say how a checkpoint is opened.

    The command gets them as one mapping, `opening`: the keyword arguments of `open_checkpoint`.
    """
    return _with_options(command, {"opening": {name: f"--{name}" for name in _OF_ONE}})


def source_options(command: Command) -> Command:
    """Add the same options for a command whose `--layout` is that of its target."""
    flags = {name: f"--{name}" for name in _OF_ONE} | {"layout": "--source-layout"}
    return _with_options(command, {"opening": flags}, of={"opening": " of SOURCE"})


def config_options(command: Command) -> Command:
    """Add the same options for a command whose `--format` is that of what it prints."""
    flags = {name: f"--{name}" for name in _OF_ONE} | {"format": "--source-format"}
    return _with_options(command, {"opening": flags})


def opening_two_options(command: Command) -> Command:
    """Add the options for two checkpoints, A and B; the command gets `opening_a` and `opening_b`."""
    flags = {f"opening_{side}": {name: f"--{name}-{side}" for name in _OF_ONE} for side in "ab"}
    return _with_options(command, flags, of={"opening_a": " of A", "opening_b": " of B"})


def _with_options(
    command: Command, flags: dict[str, dict[str, str]], of: dict[str, str] | None = None
) -> Command:
    """Add options, and gather what they say into mappings by the parameters in `flags`."""

    @functools.wraps(command)
    def gathered(*arguments: Any, **given: Any) -> Any:
        shared = {name: given.pop(name) for name in ("verify", "follow_symlinks")}
        for parameter, named in flags.items():
            own = {name: given.pop(f"{parameter}_{name}") for name in named}
            given[parameter] = {**own, **shared}
        return command(*arguments, **given)

    options = [click.option(f"--{flag}", **about) for flag, about in reversed(_OF_ALL.items())]
    for parameter, named in reversed(flags.items()):
        for name, flag in reversed(named.items()):
            about = _OF_ONE[name]
            text = about["help"].format((of or {}).get(parameter, ""))
            options.append(click.option(flag, f"{parameter}_{name}", **{**about, "help": text}))
    result: Any = gathered
    for option in options:
        result = option(result)
    decorated: Command = result
    return decorated
