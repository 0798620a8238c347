"""Candidates: for each field of a target, every value that a source has for it, the strongest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckpt_core.config.names import Entry, Names
from ckpt_core.config.result import Given
from ckpt_core.config.sources import Layer
from ckpt_core.config.targets import MISSING, Field, Target, held_by
from ckpt_core.config.targets.base import same
from ckpt_core.config.targets.kinds import options_of, takes_entries

__all__ = ["Candidates", "collect", "name_fields"]


@dataclass
class Candidates:
    """What the sources say.

    Arguments:
        by_field: the values of each field, the strongest first.
        lost: saved entries that no field takes.
        notes: what was not taken, and why.
    """

    by_field: dict[str, list[Given]] = field(default_factory=dict)
    lost: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def strongest(self, name: str) -> Given | None:
        """Return the value of a field with the most weight, or None."""
        return next(iter(self.by_field.get(name, ())), None)


def name_fields(target: Target, names: Names, layers: Iterable[Layer]) -> None:
    """Add the entries of sources to the names of an open target, each thing once, as it was first spelled."""
    for layer in layers:
        whole = tuple(
            f"{one.name}."
            for one in layer.entries
            if one.is_group and _takes_group(target.fields.get(names.find(one.name) or ""))
        )
        for entry in layer.entries:
            is_new = not entry.is_group and not entry.name.startswith(whole)
            if is_new and names.find(entry.name) is None:
                names.add(entry.name)
                if layer.source in ("saved", "beside"):  # a dot in a key of a file is no nesting
                    target.keys[entry.name] = entry.keys


def collect(target: Target, names: Names, layers: Sequence[Layer]) -> Candidates:
    """Return every value that the sources have for the fields of a target.

    Arguments:
        target: what is filled.
        names: its fields.
        layers: the sources, the strongest first. Values given in an instance come after overrides, defaults of the
            target after all others.
    """
    found = Candidates({name: [] for name in names.fields})
    own = {name: one for name, one in target.fields.items() if one.given is not MISSING}
    for layer in layers:
        if layer.source != "override":
            _add_given(own, target, found)
            own = {}
        for name, given in _values_of(layer, target, names, found).items():
            found.by_field[name].append(given)
    _add_given(own, target, found)
    for name, one in target.fields.items():
        if one.default is not MISSING:
            found.by_field[name].append(Given(one.default, "default", target.title))
    return found


def _add_given(own: Mapping[str, Field], target: Target, found: Candidates) -> None:
    for name, one in own.items():
        found.by_field[name].append(Given(one.given, "override", f"given in {target.title}"))


def _values_of(layer: Layer, target: Target, names: Names, found: Candidates) -> dict[str, Given]:
    """The values of one source by field; of several entries for one field, the one whose name is closest."""
    by_field: dict[str, list[Entry]] = {}
    lost: list[Entry] = []
    for entry in layer.entries:
        name = None if entry.name in target.groups else names.find(entry.name)
        if name is not None and (not entry.is_group or _takes_group(target.fields.get(name))):
            by_field.setdefault(name, []).append(entry)
        elif not entry.is_group:
            lost.append(entry)
    taken: dict[str, Given] = {}
    for name, entries in by_field.items():
        closest = _closest(name, entries, names)
        if closest is None:
            spelled = ", ".join(f"{one.name} = {one.value!r}" for one in entries[:4])
            found.notes.append(f"{name} is {layer.source} in several places, and none is taken: {spelled}")
        else:
            taken[name] = layer.given(closest)
    if layer.source == "saved":
        whole = tuple(f"{one.name}." for entries in by_field.values() for one in entries if one.is_group)
        found.lost.update({one.name: one.value for one in lost if not one.name.startswith(whole)})
    return taken


def _closest(name: str, entries: list[Entry], names: Names) -> Entry | None:
    """The entry whose name is closest; of several, one in the group in which the others have groups of their own."""
    best = min(names.closeness(entry.name, name) for entry in entries)
    rivals = [entry for entry in entries if names.closeness(entry.name, name) == best]
    first = min(rivals, key=lambda rival: len(rival.keys))
    inner = [rival for rival in rivals if not same(rival.value, first.value)]
    is_clear = all(
        len(rival.keys) > len(first.keys) and rival.keys[: len(first.keys) - 1] == first.keys[:-1]
        for rival in inner
    )
    return first if is_clear else None


def _takes_group(one: Field | None) -> bool:
    """Whether a field holds a mapping, or an object made of one, as a whole."""
    if one is None:
        return False
    if one.annotation in (MISSING, Any):
        return one.default is MISSING or one.default is None or held_by(one.default) is not None
    return any(takes_entries(option) for option in options_of(one.annotation))
