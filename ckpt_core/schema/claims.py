"""Which role has which part of a tree, by the word of which row; and what no role has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ckpt_core.layouts.base import Leaves, Place, Roles, paths_of, places
from ckpt_core.tree import KeyPath, children

__all__ = ["Claim", "claims_of", "paths_besides", "unclaimed"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One role, and where it stands.

    Arguments:
        role: "params", "opt_states", "step", ...
        name: the name within the role, such as that of an averaged copy; "" where a role has no names.
        place: the key path, or the Leaves.
        row: the name of the layout that claimed it.
    """

    role: str
    name: str
    place: Place
    row: str


def claims_of(roles: Roles, layout: str) -> tuple[Claim, ...]:
    """Return every claim, in the order of the roles.

    Arguments:
        roles: what was recognised.
        layout: the row that recognised it, for what no other row is named.
    """
    return tuple(
        Claim(role, name, place, _row_of(place, roles, layout)) for role, name, place in places(roles)
    )


def _row_of(place: Place, roles: Roles, layout: str) -> str:
    path = _common(place) if isinstance(place, Leaves) else place
    for depth in range(len(path), -1, -1):
        if path[:depth] in roles.rows:
            return roles.rows[path[:depth]]
    return layout


def _common(place: Leaves) -> KeyPath:
    first, *others = place.paths.values()
    depth = len(first)
    for path in others:
        while path[:depth] != first[:depth]:
            depth -= 1
    return first[:depth]


def paths_besides(roles: Roles, role: str) -> list[KeyPath]:
    """Return the paths that other roles have; where they lie within a place of `role`, they take it from there."""
    return [path for other, _, place in places(roles) if other != role for path in paths_of(place)]


def unclaimed(tree: Any, roles: Roles) -> list[tuple[KeyPath, Any]]:
    """Return the nodes that lie in no role, the highest ones of each."""
    whole = {path for _, _, place in places(roles) for path in paths_of(place)}
    above = {path[:depth] for path in whole for depth in range(len(path))}
    found: list[tuple[KeyPath, Any]] = []
    stack: list[tuple[KeyPath, Any]] = [((), tree)]
    while stack:
        path, node = stack.pop()
        if path in whole:
            continue
        if path not in above:
            found.append((path, node))
            continue
        stack.extend([((*path, key), child) for key, child in reversed(children(node) or [])])
    return found
