"""Where what a row found stands by itself: a row may look through a container that a tree holds in several places."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from ckpt_core.layouts.base import Leaves, Place, Roles, moved_by
from ckpt_core.tree import Alias, KeyPath, get

__all__ = ["standing"]

_MOST: Final = 10  # aliases that lead to one another
_LISTED: Final = ("params", "buffers")
_NAMED: Final = ("ema", "opt_states", "schedulers", "rng", "metrics", "config")


def standing(tree: Any, roles: Roles) -> Roles:
    """Return the roles with each place that leads through an alias moved to where that leads, once.

    Example:
        >>> state = {"params": {"w": 1.0}}
        >>> twice = {"actor": state, "target": Alias(("actor",))}
        >>> standing(twice, Roles(params=(("actor", "params"), ("target", "params")))).params
        (('actor', 'params'),)
    """
    moves: list[KeyPath] = []

    def moved(place: Place) -> Place:
        home = place if isinstance(place, Leaves) else _home(tree, place)
        if home is not place and not isinstance(home, Leaves):
            moves.append(home)
        return home

    found = moved_by(moved, roles)
    if not moves:
        return roles
    fields: dict[str, Any] = {
        role: tuple(_once(list(enumerate(getattr(found, role)))).values()) for role in _LISTED
    }
    fields |= {role: _once(list(getattr(found, role).items())) for role in _NAMED}
    return dataclasses.replace(found, **fields)


def _once(entries: list[tuple[Any, Place]]) -> dict[Any, Place]:
    """The entries, of those with one place the first alone."""
    first = {place: name for name, place in reversed(entries) if not isinstance(place, Leaves)}
    return {name: place for name, place in entries if isinstance(place, Leaves) or first[place] == name}


def _home(tree: Any, path: KeyPath) -> KeyPath:
    """Return the path at which a node stands, from one that may lead through aliases."""
    node: Any = tree
    home: KeyPath = ()
    try:
        for key in path:
            for _ in range(_MOST):
                if isinstance(node, Alias):
                    home, node = node.path, get(tree, node.path)
            home, node = (*home, key), get(node, (key,))
    except KeyError:
        return path
    return path if home == path else home
