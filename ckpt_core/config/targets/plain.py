"""Dicts and Namespaces: what they hold already counts as default."""

from __future__ import annotations

import argparse
import copy
import types
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ckpt_core.config.targets.base import MISSING, Kind, Member, same

__all__ = ["MappingKind", "NamespaceKind", "members_of"]


_NAMESPACES: Final = (argparse.Namespace, types.SimpleNamespace)


class MappingKind(Kind):
    """A dict, or any other mapping."""

    def owns(self, kind: type) -> bool:
        return issubclass(kind, Mapping)

    def members(self, kind: type, instance: Any, base: Any) -> Iterator[Member]:
        return members_of(instance or {}, base if isinstance(base, Mapping) else MISSING)

    def held(self, instance: Any) -> Mapping[Any, Any]:
        return {key: instance[key] for key in instance}

    def made(self, kind: type, origin: Any, values: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return a new dict that shares nothing changeable with the old one."""
        kept = {key: value for key, value in (origin or {}).items() if key not in values}
        copied = copy.deepcopy(kept)
        order = dict.fromkeys([*(origin or {}), *values])
        return {key: values[key] if key in values else copied[key] for key in order}

    def title(self, kind: type) -> str:
        return "the dict"


class NamespaceKind(Kind):
    """An argparse Namespace, or Python's own."""

    def owns(self, kind: type) -> bool:
        return issubclass(kind, _NAMESPACES)

    def members(self, kind: type, instance: Any, base: Any) -> Iterator[Member]:
        held = {} if instance is None else vars(instance)
        return members_of(held, vars(base) if isinstance(base, _NAMESPACES) else MISSING)

    def held(self, instance: Any) -> Mapping[Any, Any]:
        return dict(vars(instance))

    def made(self, kind: type, origin: Any, values: Mapping[Any, Any]) -> Any:
        """Return a new Namespace of the same class."""
        made = kind()
        vars(made).update({**({} if origin is None else vars(origin)), **values})
        return made

    def title(self, kind: type) -> str:
        return "the Namespace"


def members_of(held: Mapping[Any, Any], base: Any) -> Iterator[Member]:
    """Yield entries of an object that does not tell what was given; beside a declared default, what differs was.

    Arguments:
        held: what it holds.
        base: what its declared default holds; MISSING without one.
    """
    if base is MISSING:
        yield from (Member(key, str(key), value=value) for key, value in held.items())
        return
    for key in dict.fromkeys([*base, *held]):
        default, value = base.get(key, MISSING), held.get(key, MISSING)
        is_given = value is not MISSING and not same(value, default)
        yield Member(key, str(key), default=default, value=value, is_given=is_given)
