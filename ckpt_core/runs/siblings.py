"""Siblings: other directories of the same script, whose names differ because some arguments did."""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Callable
from typing import Any, Final

from ckpt_core.errors import CheckpointError
from ckpt_core.paths import search
from ckpt_core.runs.metrics import words_of
from ckpt_core.runs.reading import read_entry
from ckpt_core.runs.scan import scan

__all__ = ["siblings_of"]

_MAX_SIBLINGS: Final = 100
_SHOWN: Final = 5


def siblings_of(args: argparse.Namespace, folder_of: Callable[[argparse.Namespace], str]) -> list[str]:
    """Say which directories beside a run have checkpoints and differ from it in changed arguments alone.

    A sibling is proven by the config in one of its checkpoints: put into the arguments, it gives the sibling's own
    directory. Where none was saved, one whose name has the same words but for a few is named as likely.

    Arguments:
        args: the arguments of now.
        folder_of: the directory of a run by its arguments.
    """
    own = search(folder_of(args))[0] or os.path.abspath(folder_of(args))
    above = os.path.dirname(own)
    found = []
    for name in _folders(above):
        sibling = os.path.join(above, name)
        if os.path.realpath(sibling) == os.path.realpath(own):
            continue
        config = _saved_config(sibling)
        if config is None:
            continue
        text = _by_config(args, config, sibling, folder_of) or _by_name(os.path.basename(own), name)
        if text:
            found.append(f"{sibling} has checkpoints, and {text}")
        if len(found) == _SHOWN:
            break
    return found


def _by_config(
    args: argparse.Namespace,
    config: dict[str, Any],
    sibling: str,
    folder_of: Callable[[argparse.Namespace], str],
) -> str:
    """Which arguments lead to the sibling's directory when the saved ones replace those of now."""
    changed = {
        name: value
        for name, value in config.items()
        if name in vars(args) and getattr(args, name) != value and type(value) in (bool, int, float, str)
    }
    then = copy.copy(args)
    vars(then).update(changed)
    try:
        folder = folder_of(then)
    except Exception:  # noqa: BLE001  # the script's own function, on values that it did not make
        return ""
    if os.path.realpath(search(folder)[0] or folder) != os.path.realpath(sibling):
        return ""
    named = [name for name in changed if _moves(args, name, changed[name], folder_of)]
    return "differs in " + ", ".join(
        f"{name} ({changed[name]!r} there, {getattr(args, name)!r} now)" for name in named
    )


def _moves(
    args: argparse.Namespace, name: str, value: Any, folder_of: Callable[[argparse.Namespace], str]
) -> bool:
    """Whether an argument alone changes the directory."""
    then = copy.copy(args)
    setattr(then, name, value)
    try:
        return folder_of(then) != folder_of(args)
    except Exception:  # noqa: BLE001  # as above
        return False


def _by_name(own: str, sibling: str) -> str:
    """Which words of two names differ, where most are the same."""
    ours, theirs = words_of(own), words_of(sibling)
    if len(ours) != len(theirs):
        return ""
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b]
    if not pairs or len(pairs) * 2 > len(ours):
        return ""
    return "its name differs in " + ", ".join(f"{b} (here {a})" for a, b in pairs)


def _saved_config(folder: str) -> dict[str, Any] | None:
    """The config in a checkpoint of a directory; None where there is no whole one."""
    for one in scan(folder):
        try:
            entry = None if one.unfinished else read_entry(one)
        except CheckpointError:
            continue
        if entry is not None and entry.is_whole:
            return dict(entry.config)
    return None


def _folders(above: str) -> list[str]:
    try:
        names = sorted(os.listdir(above))
    except OSError:
        return []
    return [name for name in names if os.path.isdir(os.path.join(above, name))][:_MAX_SIBLINGS]
