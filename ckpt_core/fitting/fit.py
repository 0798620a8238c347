"""Fit a tree to what a container holds.

What the container holds natively stays as it is. Everything else has its nearest native value written (a tuple
as a list, a Namespace as a dict, a numpy scalar as a number), while the exact tree travels as one JSON document
in the container's metadata (`neutral.py`), from which `unfit.py` brings it back. What fits neither is a loss.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ckpt_core.backend import Holds, Stored
from ckpt_core.fitting.document import attributes_of
from ckpt_core.fitting.ledger import Ledger, Remark
from ckpt_core.fitting.named_keys import name_keys
from ckpt_core.fitting.nested import fit_nested
from ckpt_core.fitting.sharing import note_sharing
from ckpt_core.fitting.table import fit_table
from ckpt_core.tree import KeyPath

__all__ = ["Fitted", "fit"]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A tree fitted to a container.

    Arguments:
        stored: what the backend writes.
        carried: kept exactly, in the container's metadata; official loaders see the nearest value or nothing.
        losses: what the container cannot hold.
        notes: what the container holds and not all of its official loaders read, one sentence per dtype.
    """

    stored: Stored
    carried: tuple[Remark, ...] = ()
    losses: tuple[Remark, ...] = ()
    notes: tuple[str, ...] = ()


def fit(stored: Stored, holds: Holds, ties: tuple[tuple[KeyPath, ...], ...] = ()) -> Fitted:
    """Fit a tree to a container.

    Arguments:
        stored: a tree and the free metadata of its container.
        holds: what the target container holds.
        ties: groups of paths whose arrays were tied before another container separated them.

    Returns:
        The fitted tree, with what is carried in metadata and what is lost.
    """
    ledger = Ledger(holds)
    named, paths = name_keys(stored.tree)
    for path in paths:
        ledger.lose(path, "a key that is an object, written as its text")
    tree = fit_nested(named, ledger) if holds.containers else fit_table(named, ledger)
    note_sharing(ledger, ties)
    attributes = attributes_of(Stored(named, stored.attributes, stored.notes), ledger)
    return Fitted(Stored(tree, attributes), tuple(ledger.carried), tuple(ledger.losses), _loader_gaps(ledger))


def _loader_gaps(ledger: Ledger) -> tuple[str, ...]:
    """One sentence per dtype that some official loader does not read."""
    gaps = ledger.holds.loader_gaps
    counts = Counter(array.dtype for _, array in ledger.names.values() if array.dtype in gaps)
    return tuple(
        f"{dtype} ({count} array{'s' if count > 1 else ''}) {gaps[dtype]}"
        for dtype, count in sorted(counts.items())
    )
