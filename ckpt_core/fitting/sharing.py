"""Name what is tied or overlaps where a container cannot share bytes."""

from __future__ import annotations

from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.fitting.kinds import span_of
from ckpt_core.fitting.ledger import Ledger
from ckpt_core.tree import KeyPath, render_path

__all__ = ["note_sharing"]

_Member = tuple[KeyPath, KeyPath, LazyArray]
"""The path in the tree, the path in the target, and the array."""


def note_sharing(ledger: Ledger, ties: tuple[tuple[KeyPath, ...], ...]) -> None:
    """Note the arrays of one storage that are written as copies.

    Arguments:
        ledger: where the arrays of the tree are noted.
        ties: groups of paths whose arrays were tied before another container separated them.
    """
    if ledger.holds.overlapping:
        return
    groups: dict[int, list[_Member]] = {}
    for path, (target, array) in ledger.names.items():
        if len(array.pieces) == 1 and array.nbytes:
            groups.setdefault(id(array.pieces[0].storage), []).append((path, target, array))
    for members in groups.values():
        if len(members) > 1:
            _one_storage(members, ledger)
    if not ledger.holds.sharing:
        for group in ties:
            _tied([(path, ledger.names[path][0]) for path in group if path in ledger.names], ledger)


def _one_storage(members: list[_Member], ledger: Ledger) -> None:
    same: dict[Any, list[_Member]] = {}
    for member in members:
        same.setdefault(member[2].identity, []).append(member)
    for tied in same.values():
        if not ledger.holds.sharing:
            _tied([(path, target) for path, target, _ in tied], ledger)
    spans = sorted((*span_of(group[0][2]), group[0][0]) for group in same.values())
    reach = -1
    for low, high, path in spans:
        if low < reach:
            ledger.lose(path, "shares part of its bytes with another array, written as a copy")
        reach = max(reach, high)


def _tied(places: list[tuple[KeyPath, KeyPath]], ledger: Ledger) -> None:
    """Note arrays that are tied, by their paths in the tree and in the target."""
    if len(places) > 1:
        ledger.tied.append([ledger.name(target) for _, target in places])
        for path, _ in places[1:]:
            ledger.carry(path, f"tied to {render_path(places[0][0])}, written as a copy")
