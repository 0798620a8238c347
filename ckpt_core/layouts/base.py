"""Layout: one row of the table of recognisers, which says what the parts of a tree are."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ckpt_core.errors import UnsupportedError
from ckpt_core.tree import KeyPath

__all__ = ["Layout", "Parts", "Roles"]


@dataclass(frozen=True, slots=True)
class Roles:
    """Which part of a tree plays which role, as key paths; nothing is copied.

    `params` and `buffers` are the subtrees (or single leaves) that hold them. The named roles map a name to
    a path. What is in no role stays in `metadata.extra`.
    """

    params: tuple[KeyPath, ...] = ()
    buffers: tuple[KeyPath, ...] = ()
    ema: Mapping[str, KeyPath] = field(default_factory=dict)
    opt_states: Mapping[str, KeyPath] = field(default_factory=dict)
    schedulers: Mapping[str, KeyPath] = field(default_factory=dict)
    scaler: KeyPath | None = None
    rng: Mapping[str, KeyPath] = field(default_factory=dict)
    step: KeyPath | None = None
    epoch: KeyPath | None = None
    timestamp: KeyPath | None = None
    metrics: Mapping[str, KeyPath] = field(default_factory=dict)
    config: Mapping[str, KeyPath] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parts:
    """What a layout writes as its own tree: the parts of a checkpoint, by role."""

    params: Any = None
    buffers: Any = None
    ema: Mapping[str, Any] = field(default_factory=dict)
    opt_states: Mapping[str, Any] = field(default_factory=dict)
    schedulers: Mapping[str, Any] = field(default_factory=dict)
    scaler: Any = None
    rng: Mapping[str, Any] = field(default_factory=dict)
    step: int | None = None
    epoch: int | None = None
    timestamp: Any = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    config: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class Layout(abc.ABC):
    """A way in which trainers arrange a checkpoint."""

    name: ClassVar[str]
    describes: ClassVar[str] = ""
    """One line on what it looks like."""

    @abc.abstractmethod
    def recognise(self, tree: Any) -> Roles | None:
        """Return the roles of the tree's parts, or None when it is not arranged this way; never copies."""

    def build(self, parts: Parts) -> tuple[Any, tuple[str, ...]]:
        """Return a tree arranged this way, and the names of the parts that it has no place for.

        Raises:
            UnsupportedError: this layout is only read.
        """
        raise UnsupportedError(f"the layout {self.name} is only read")
