"""Layout: one row of the table of recognisers, which says what the parts of a tree are."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeAlias

from ckpt_core.errors import UnsupportedError
from ckpt_core.tree import KeyPath, get

__all__ = [
    "RAW",
    "Layout",
    "Leaves",
    "Parts",
    "Place",
    "Progress",
    "Roles",
    "below",
    "merged",
    "moved_by",
    "node_at",
    "paths_of",
    "places",
]

RAW: Final = "raw"
"""The name of the weights as the optimizer left them, beside averaged copies."""


@dataclass(frozen=True, slots=True)
class Leaves:
    """Arrays that are no subtree of their own, such as an averaged copy among the entries of a state dict.

    Arguments:
        paths: for the segments of each name, where the array stands.
        within: the subtree whose keys are the model's own names; None where the segments are all there is.
    """

    paths: Mapping[tuple[str, ...], KeyPath]
    within: KeyPath | None = None


Place: TypeAlias = "KeyPath | Leaves"
"""Where something stands: below one key path, or leaf by leaf."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far training was, where a trainer keeps counters that say it better than the epoch and step it saves.

    Arguments:
        epochs: how many epochs are complete; None where the trainer counts steps alone.
        batches: how many batches of the next epoch are done.
        first: the number of the first epoch, 0 or 1.
        steps: how many optimizer steps are done; None where the saved step says just that.
    """

    epochs: int | None = None
    batches: int = 0
    first: int = 1
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class Roles:
    """Which part of a tree plays which role, as key paths; nothing is copied.

    Of two roles over one leaf, the one whose path is longer has it: a role may take single entries out of
    another. The named roles map a name to a place. What is in no role stays in `metadata.extra`.

    Arguments:
        params, buffers: the subtrees, single leaves or Leaves that hold the weights.
        ema: the other copies of the weights by name: averaged ones, and "raw" where `params` is averaged.
        config: saved hyperparameters by name; those under the name "" stand beside the names, not below one.
        weights: what `params` is: "raw", or the name of an averaged copy.
        reads: for the paths of settings and metrics that are no plain data, how to read what stands there.
        rows: which row of the table claimed what stands below a path, where rows are composed.
        progress: how far training was, where the trainer's own counters tell.
        best: the path that the trainer gives as that of its best checkpoint so far; "" for none.
        notes: what a reader should be told, one sentence each.
    """

    params: tuple[Place, ...] = ()
    buffers: tuple[Place, ...] = ()
    ema: Mapping[str, Place] = field(default_factory=dict)
    opt_states: Mapping[str, Place] = field(default_factory=dict)
    schedulers: Mapping[str, KeyPath] = field(default_factory=dict)
    scaler: KeyPath | None = None
    rng: Mapping[str, KeyPath] = field(default_factory=dict)
    step: KeyPath | None = None
    epoch: KeyPath | None = None
    timestamp: KeyPath | None = None
    metrics: Mapping[str, KeyPath] = field(default_factory=dict)
    config: Mapping[str, KeyPath] = field(default_factory=dict)
    weights: str = RAW
    reads: Mapping[KeyPath, Callable[[Any], Any]] = field(default_factory=dict)
    rows: Mapping[KeyPath, str] = field(default_factory=dict)
    progress: Progress | None = None
    best: str = ""
    notes: tuple[str, ...] = ()


_SINGLE: Final = ("scaler", "step", "epoch", "timestamp")
_LISTED: Final = ("params", "buffers")
_BY_PATH: Final = ("reads", "rows")
_NAMED: Final = ("ema", "opt_states", "schedulers", "rng", "metrics", "config")


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
    is_general: ClassVar[bool] = False
    """Whether it fits much that others describe better: it is asked when no other row fits."""

    @abc.abstractmethod
    def recognise(self, tree: Any) -> Roles | None:
        """Return the roles of the tree's parts, or None when it is not arranged this way; never copies."""

    def build(self, parts: Parts) -> tuple[Any, tuple[str, ...]]:
        """Return a tree arranged this way, and the names of the parts that it has no place for.

        Raises:
            UnsupportedError: this layout is only read.
        """
        raise UnsupportedError(f"the layout {self.name} is only read")


# Working with roles.


def paths_of(place: Place) -> tuple[KeyPath, ...]:
    """Return the key paths of a place."""
    return tuple(place.paths.values()) if isinstance(place, Leaves) else (place,)


def places(roles: Roles) -> Iterator[tuple[str, str, Place]]:
    """Yield (role, name, place) for everything that is claimed; the name is "" where a role has none."""
    for role in _LISTED:
        for place in getattr(roles, role):
            yield role, "", place
    for role in _NAMED:
        for name, place in getattr(roles, role).items():
            yield role, name, place
    for role in _SINGLE:
        place = getattr(roles, role)
        if place is not None:
            yield role, "", place


def node_at(tree: Any, place: Place) -> Any:
    """Return the node at a place; leaves as nested dicts by the segments of their names."""
    if not isinstance(place, Leaves):
        return get(tree, place)
    root: dict[str, Any] = {}
    for segments, path in place.paths.items():
        node = root
        for key in segments[:-1]:
            node = node.setdefault(key, {})
        node[segments[-1]] = get(tree, path)
    return root


def below(roles: Roles, prefix: KeyPath) -> Roles:
    """Return the same roles in a tree that stands at a path of another."""

    def moved(value: Any) -> Any:
        if isinstance(value, Leaves):
            paths = {segments: (*prefix, *path) for segments, path in value.paths.items()}
            return Leaves(paths, None if value.within is None else (*prefix, *value.within))
        return (*prefix, *value)

    return moved_by(moved, roles)


def moved_by(moved: Callable[[Any], Any], roles: Roles) -> Roles:
    """Return the same roles with every place, and every path that something is said of, replaced."""
    fields: dict[str, Any] = {role: tuple(map(moved, getattr(roles, role))) for role in _LISTED}
    for role in _NAMED:
        fields[role] = {name: moved(place) for name, place in getattr(roles, role).items()}
    for role in _SINGLE:
        place = getattr(roles, role)
        fields[role] = None if place is None else moved(place)
    for about in _BY_PATH:
        fields[about] = {moved(path): value for path, value in getattr(roles, about).items()}
    return dataclasses.replace(roles, **fields)


def merged(*all_roles: Roles) -> Roles:
    """Combine roles found in parts of a tree; for a role of one path, and for `params`, the first one counts."""
    first = all_roles[0]
    fields: dict[str, Any] = {}
    for role in (*_NAMED, *_BY_PATH):
        fields[role] = {}
        for roles in reversed(all_roles):
            fields[role].update(getattr(roles, role))
    for role in _SINGLE:
        fields[role] = next((path for roles in all_roles if (path := getattr(roles, role)) is not None), None)
    for role in ("buffers", "notes"):
        fields[role] = tuple(entry for roles in all_roles for entry in getattr(roles, role))
    return dataclasses.replace(first, **fields)
