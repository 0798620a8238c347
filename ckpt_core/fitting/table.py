"""Fit a tree to a container that is one flat table of named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.fitting.kinds import SURROGATES, describe, describe_key, kind_name, kind_of_key, word_of
from ckpt_core.fitting.ledger import BARE, Ledger
from ckpt_core.tree import KeyPath, Record, flatten, render_path

__all__ = ["fit_table"]


def fit_table(tree: Any, ledger: Ledger) -> dict[str, LazyArray]:
    """Return the arrays of a tree by name, its keys joined by dots; all else is noted in the ledger."""
    table: dict[str, LazyArray] = {}
    if not isinstance(tree, dict) or isinstance(tree, Record):
        ledger.carry((), f"a {kind_name(tree)} at the top")
    for path, leaf in flatten(tree):
        if isinstance(leaf, LazyArray):
            name = _name(path, table, ledger)
            table[name] = ledger.place(path, (name,), leaf)
        else:
            ledger.carry(path, describe(leaf))
        if len(path) > 1 and not ledger.carried:
            ledger.carry(path[:1], "nesting")
    return table


def _name(path: KeyPath, table: Mapping[str, LazyArray], ledger: Ledger) -> str:
    reserved = ledger.holds.reserved
    name = ".".join(map(word_of, path)) if path else BARE
    if name in table or name in reserved:
        name = render_path(path)
        while name in table or name in reserved:
            name += "'"
        ledger.carry(path, f"a name that is taken already, written as {name!r}")
    elif len(path) == 1 and type(path[0]) is not str:
        ledger.carry(path, describe_key(path[0]))
    for key in path:
        if kind_of_key(key) == SURROGATES:
            ledger.carry(path, describe_key(key))
    return name
