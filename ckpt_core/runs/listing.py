"""Listing: the checkpoints of a directory, in the order of training."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ckpt_core.runs.duplicates import with_duplicates
from ckpt_core.runs.entry import Entry
from ckpt_core.runs.names import has_words
from ckpt_core.runs.order import sorted_entries
from ckpt_core.runs.reading import read_entry
from ckpt_core.runs.scan import Found, is_one_checkpoint, scan

__all__ = ["Listing", "list_checkpoints"]


@dataclass(frozen=True)
class Listing:
    """What a directory holds.

    Arguments:
        entries: the checkpoints, in the order of training.
        notes: what was not looked at, one sentence each.
    """

    entries: tuple[Entry, ...] = ()
    notes: tuple[str, ...] = ()


def list_checkpoints(path: str, comment: str | None = None) -> Listing:
    """Return the checkpoints of a directory; of a path that is one itself, that one alone.

    Arguments:
        path: an absolute path.
        comment: only those whose names have these words.
    """
    notes: list[str] = []
    if os.path.isdir(path):
        found = list(scan(path, notes=notes))
    else:
        found = [Found(path, os.path.basename(path))] if is_one_checkpoint(path) else []
    if comment:
        found = [one for one in found if has_words(comment, one.name)]
    entries = [entry for entry in map(read_entry, found) if entry is not None]
    joined, alike = with_duplicates(sorted_entries(entries))
    return Listing(tuple(joined), (*notes, *alike))
