"""explicit_arguments: which options stand on a command line, and which were left at their default."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["explicit_arguments"]


def explicit_arguments(parser: argparse.ArgumentParser, args: Sequence[str] | None = None) -> frozenset[str]:
    """Return the names of the options that were given.

    A Namespace does not tell `--lr 0.1` from a default of 0.1. The command line is parsed once more without any
    defaults, so only what was given is there.

    Arguments:
        parser: as it parsed the Namespace.
        args: the command line; that of the process by default.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> _ = parser.add_argument("--lr", type=float, default=0.1)
        >>> _ = parser.add_argument("--epochs", type=int, default=3)
        >>> explicit_arguments(parser, ["--lr", "0.1"])
        frozenset({'lr'})
    """
    kept = [(owner, name, vars(owner)[name]) for owner, name in _defaults(parser)]
    try:
        for owner, name, value in kept:
            setattr(owner, name, {} if isinstance(value, dict) else argparse.SUPPRESS)
        given, _ = parser.parse_known_args(args)
        return frozenset(vars(given))
    finally:
        for owner, name, value in kept:
            setattr(owner, name, value)


def _defaults(parser: argparse.ArgumentParser) -> Iterator[tuple[Any, str]]:
    """Every place of a parser, and of its subparsers, that holds defaults."""
    yield parser, "_defaults"
    for action in parser._actions:  # noqa: SLF001  # argparse has no public list of its options
        yield action, "default"
        choices = action.choices if isinstance(action.choices, dict) else {}
        for inner in choices.values():
            if isinstance(inner, argparse.ArgumentParser):
                yield from _defaults(inner)
