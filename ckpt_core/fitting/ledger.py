"""What a container cannot hold as it is, noted while a tree is fitted to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Holds
from ckpt_core.fitting.bytewise import as_bytes
from ckpt_core.tree import KeyPath, render_path

__all__ = ["BARE", "Ledger", "Remark"]

BARE: Final = "tree"
"""The name of the one entry when the tree itself is no dictionary."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something at a path that the target does not hold, and what happens to it."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.text} @ {self.path or '(the whole)'}"


@dataclass
class Ledger:
    """What is noted about one tree and one container.

    Arguments:
        holds: what the container holds.
        carried: kept exactly, in the container's metadata.
        losses: what the container cannot hold.
        names: {path of an array in the tree: its path in the target, and the array}.
        copies: the target's names of arrays that a shared container has a second time.
        tied: groups of the target's names whose arrays are one in the tree.
    """

    holds: Holds
    carried: list[Remark] = field(default_factory=list)
    losses: list[Remark] = field(default_factory=list)
    names: dict[KeyPath, tuple[KeyPath, LazyArray]] = field(default_factory=dict)
    copies: list[str] = field(default_factory=list)
    tied: list[list[str]] = field(default_factory=list)

    def carry(self, path: KeyPath, text: str) -> None:
        """Note what only the metadata keeps; a container without any loses it."""
        remarks = self.losses if self.holds.attributes == "none" else self.carried
        remarks.append(Remark(render_path(path), text))

    def lose(self, path: KeyPath, text: str) -> None:
        """Note what is lost."""
        self.losses.append(Remark(render_path(path), text))

    def place(self, path: KeyPath, target: KeyPath, array: LazyArray) -> LazyArray:
        """Note where an array goes; returns it as the target stores it."""
        self.names[path] = (target, array)
        return self.stored(path, array)

    def stored(self, path: KeyPath, array: LazyArray) -> LazyArray:
        """Return an array as the target stores it: as its bytes where the dtype is unknown there."""
        if array.dtype in self.holds.dtypes:
            return array
        self.lose(path, f"dtype {array.dtype} is unknown to the target; the bytes are written as uint8")
        return as_bytes(array)

    def name(self, target: KeyPath) -> str:
        """Return the name that the target has for an array."""
        return render_path(target) if self.holds.containers else str(target[0])
