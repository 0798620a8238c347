"""Receipt: what a transfer did with every source and every slot, each in exactly one bucket."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Destination", "Filled", "Receipt", "Taken"]


@dataclass(frozen=True, slots=True)
class Filled:
    """A slot, and what it was given.

    Arguments:
        name: the slot's name.
        bucket: "transferred", "tied" (the array of another slot), "constant" or "initial" (its own value).
        sources: the names of the sources.
        ops: the chain, as text.
        parameters: the number of elements.
        sha256: the digest of the dtype, the shape and the bytes, as `hash_array` has it; "" where none was asked for.
    """

    name: str
    bucket: str
    sources: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()
    parameters: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """A source, and what became of it.

    Arguments:
        name: the source's name.
        bucket: "transferred", "tied" (another name of a transferred array), "skipped" or "not selected".
        text: where it went, or why it did not.
        parameters: the number of elements.
    """

    name: str
    bucket: str
    text: str = ""
    parameters: int = 0


@dataclass(frozen=True, slots=True)
class Destination:
    """A part of the target, and how much was transferred into it."""

    name: str
    leaves: int
    parameters: int

    def __str__(self) -> str:
        return f"Transferred {_many(self.parameters, 'parameter')} into {self.name} ({_many(self.leaves, 'leaf')})"


@dataclass(frozen=True)
class Receipt:
    """What a transfer did.

    Arguments:
        source, target: what they are called.
        taken: every source.
        filled: every slot.
        destinations: counts by part of the target.
        selected: the part of the source that was found, where alternatives were given; else "".
        notes: what else there is to know, one sentence each.
    """

    source: str
    target: str
    taken: tuple[Taken, ...] = ()
    filled: tuple[Filled, ...] = ()
    destinations: tuple[Destination, ...] = ()
    selected: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the receipt as lines for a log."""
        lines = [str(destination) for destination in self.destinations]
        if self.selected:
            lines.append(f"from {self.selected} of {self.source}")
        lines += _counted("slot", self.filled, ("tied", "constant", "initial"))
        lines += _counted("source", self.taken, ("tied", "skipped", "not selected"))
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


_MEANING: Final = {
    "tied": "sharing the array of another",
    "constant": "given one value",
    "initial": "keeping the target's own values",
    "skipped": "skipped on purpose",
    "not selected": "outside of the selection",
}


def _counted(what: str, rows: Sequence[Filled | Taken], buckets: Sequence[str]) -> list[str]:
    counts = Counter(row.bucket for row in rows)
    sizes: Counter[str] = Counter()
    for row in rows:
        sizes[row.bucket] += row.parameters
    return [
        f"{_many(counts[bucket], what)} {_MEANING[bucket]} ({_many(sizes[bucket], 'parameter')})"
        for bucket in buckets
        if counts[bucket]
    ]


def _many(count: int, what: str) -> str:
    plural = {"leaf": "leaves"}.get(what, what + "s")
    return f"{count:,} {what if count == 1 else plural}"
