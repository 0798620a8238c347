"""Dicts and argparse Namespaces as targets: what they hold already counts as default."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ckpt_core.config.targets.base import MISSING, Field, Target, nested

__all__ = ["DictTarget", "NamespaceTarget", "flat_fields"]


class DictTarget(Target):
    """A dict, or None for a new one: it takes every entry."""

    is_open = True

    def __init__(self, into: Mapping[str, Any], explicit: Collection[str] = ()) -> None:
        self.instance = into
        super().__init__("the dict", list(flat_fields(into, explicit)))
        self.tells_defaults = bool(explicit)

    def make(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return a new dict; what is nested in the old one is copied, not changed."""
        return _merged(copy.deepcopy(dict(self.instance)), nested(changes, self.keys))


class NamespaceTarget(Target):
    """An argparse Namespace; an empty one, or the class, takes every entry."""

    def __init__(self, into: argparse.Namespace, explicit: Collection[str] = ()) -> None:
        self.instance = into
        super().__init__("the Namespace", list(flat_fields(vars(into), explicit)))
        self.is_open = not self.fields
        self.tells_defaults = bool(explicit)

    def make(self, changes: Mapping[str, Any]) -> argparse.Namespace:
        """Return a new Namespace of the same class."""
        made = type(self.instance)()
        vars(made).update(_merged(copy.copy(vars(self.instance)), nested(changes, self.keys)))
        return made


def flat_fields(values: Mapping[str, Any], explicit: Collection[str], prefix: str = "") -> Iterator[Field]:
    """Yield the entries of nested mappings as fields, with their values as defaults or as given."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flat_fields(value, explicit, f"{name}.")
        else:
            yield Field(name, MISSING, value, value if name in explicit else MISSING)


def _merged(old: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    for key, change in changes.items():
        current = old.get(key)
        if isinstance(change, Mapping) and isinstance(current, Mapping):
            old[key] = _merged(dict(current), change)
        elif isinstance(change, Mapping) and key not in old:
            old[key] = _merged({}, change)
        else:
            old[key] = change
    return old
