"""Groups: which optional parts of a config are there, as the strongest source says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckpt_core.config.names import Entry, Names
from ckpt_core.config.sources import NONE, Layer
from ckpt_core.config.targets import CLOSED, OPEN, Target, held_by

__all__ = ["with_decided_groups"]


def with_decided_groups(
    target: Target, overrides: Sequence[Entry], layers: Sequence[Layer]
) -> tuple[Target, list[Entry]]:
    """Return the target with the groups that the sources say are there, and the overrides that are left.

    A saved `ema: {"decay": 0.9}` opens a group whose default is None, and a saved None closes one whose default is
    an object. An object among the overrides takes the place of the one that is there.

    Arguments:
        target: the config to fill.
        overrides: the explicit overrides.
        layers: the other sources, the strongest first.
    """
    left, decided = list(overrides), set[str]()
    while True:
        found: dict[str, Any] = {}
        objects = dict(_objects(target, left))
        for entry_name, (group, value) in objects.items():
            found[group] = value
            left = [one for one in left if not _is_within(one.name, entry_name)]
        names = Names(target.optional)
        for entries, is_override in [(left, True), *((layer.entries, False) for layer in layers)]:
            for group, said in _said(entries, names):
                if is_override or target.optional[group]:
                    found.setdefault(group, said)
        found = {name: said for name, said in found.items() if name not in decided}
        if not found:
            return target, left
        decided |= found.keys()
        target = target.with_groups(found)


def _objects(target: Target, overrides: Sequence[Entry]) -> Iterator[tuple[str, tuple[str, Any]]]:
    """The overrides that are objects for groups: (name of the override, (group, object))."""
    names = Names([*target.groups, *target.optional])
    for entry in overrides:
        group = names.find(entry.name)
        if group is not None and not isinstance(entry.value, Mapping) and held_by(entry.value) is not None:
            yield entry.name, (group, entry.value)


def _said(entries: Sequence[Entry], names: Names) -> Iterator[tuple[str, Any]]:
    """What one source says of groups: of those that it names, and of those in which it names something."""
    for entry in entries:
        group = names.find(entry.name)
        if group is not None and (entry.value is None or entry.value is NONE):
            yield group, CLOSED
        elif group is not None and held_by(entry.value) is not None:
            yield group, OPEN
        parts = entry.name.split(".")
        for length in range(1, len(parts)):
            above = names.find(".".join(parts[:length]))
            if above is not None:
                yield above, OPEN


def _is_within(name: str, group: str) -> bool:
    return name == group or name.startswith(f"{group}.")
