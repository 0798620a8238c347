"""Where values come from: the checkpoint, files beside it, overrides, defaults; each with its place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ckpt_core.config.beside import configs_beside
from ckpt_core.config.files import read_config_file
from ckpt_core.config.names import Entry, Names, entries_of
from ckpt_core.config.result import Given
from ckpt_core.config.targets import MISSING, target_of
from ckpt_core.errors import UsageError
from ckpt_core.schema import Checkpoint
from ckpt_core.schema.config_attribute import written_config
from ckpt_core.tree import render_path

__all__ = ["NONE", "Layer", "beside_layers", "default_layer", "override_layer", "saved_layer"]


class _None:
    def __repr__(self) -> str:
        return "NONE"


NONE: Final[Any] = _None()
"""An override that means the value None; an override of None itself means that nothing was given."""


@dataclass(frozen=True)
class Layer:
    """The entries of one source.

    Arguments:
        source: "override", "saved", "beside" or "default".
        where: what its places begin with.
        entries: what it holds, groups too.
        places: for a name, or the first part of one, the place where it stands.
    """

    source: str
    where: str
    entries: tuple[Entry, ...]
    places: Mapping[str, str] | None = None

    def given(self, entry: Entry) -> Given:
        """Return an entry's value with its place."""
        places = self.places or {}
        first, _, rest = entry.name.partition(".")
        place = places.get(entry.name) or places.get(first, self.where)
        if rest and entry.name not in places and first in places:
            place = f"{place}/{rest.replace('.', '/')}"
        value = None if entry.value is NONE else entry.value
        return Given(value, self.source, place)


def saved_layer(ckpt: Checkpoint) -> Layer:
    """Return what a checkpoint says about its config."""
    written = written_config(ckpt.stored.attributes)
    if written is not None:
        places = {name: f"metadata, written as {source}" for name, source in written.sources.items()}
        return Layer("saved", "metadata", tuple(entries_of(written.values)), places)
    roles = ckpt.roles.config
    groups = [render_path(path) for name, path in roles.items() if name not in ckpt.config]
    places = {}
    for key in ckpt.config:
        if key in roles:
            places[str(key)] = render_path(roles[key])
        elif groups:  # the entries of a group stand beside the others
            places[str(key)] = f"{groups[0]}/{key}"
    return Layer("saved", "the checkpoint", tuple(entries_of(ckpt.config)), places)


def beside_layers(path: str) -> Iterator[tuple[Layer, str]]:
    """Yield the config files beside a checkpoint, and for each the problem with it, or ""."""
    for found in configs_beside(path):
        name = os.path.relpath(
            found.path, path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path))
        )
        yield Layer("beside", name, tuple(entries_of(found.values))), found.problem


def override_layer(overrides: Iterable[Entry], names: Names, is_open: bool, title: str) -> Layer:
    """Return explicit overrides, those of None left out.

    Raises:
        UsageError: one names no field; says which are spelled like it.
    """
    entries = tuple(entry for entry in overrides if entry.value is not None)
    whole = tuple(f"{one.name}." for one in entries if one.is_group and names.find(one.name) is not None)
    for entry in entries:
        is_known = names.find(entry.name) is not None or entry.name.startswith(whole)
        if entry.is_group or is_open or is_known:
            continue
        near = names.near(entry.name) or list(names.fields)[:8]
        raise UsageError(f"{title} has no field {entry.name!r}", remedy=f"It has: {', '.join(near)}.")
    return Layer("override", "overrides", entries)


def default_layer(defaults: Any) -> Layer:
    """Return defaults: a mapping, an object that holds a config, or the path of a config or constants file."""
    if isinstance(defaults, (str, os.PathLike)):
        path = os.fspath(defaults)
        return Layer("default", path, tuple(entries_of(read_config_file(path))))
    if isinstance(defaults, Mapping):
        return Layer("default", "defaults", tuple(entries_of(defaults)))
    target = target_of(defaults)
    values = {}
    for name, field in target.fields.items():
        value = field.default if field.given is MISSING else field.given
        if value is not MISSING:
            values[name] = value
    return Layer("default", "defaults", tuple(Entry(name, value) for name, value in values.items()))
