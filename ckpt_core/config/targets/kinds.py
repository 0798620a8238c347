"""The kinds of objects that hold a config, one file each, and which one an object or an annotation means."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.config.targets.base import MISSING, Kind
from ckpt_core.config.targets.config_dict import ConfigDictKind
from ckpt_core.config.targets.dataclass import DataclassKind
from ckpt_core.config.targets.plain import MappingKind, NamespaceKind
from ckpt_core.config.targets.pydantic import PydanticKind

__all__ = ["admits_none", "class_meant", "held_by", "kind_of", "options_of", "takes_entries"]

_KINDS: Final[tuple[Kind, ...]] = (
    PydanticKind(),
    ConfigDictKind(),
    DataclassKind(),
    NamespaceKind(),
    MappingKind(),
)


def kind_of(kind: type) -> Kind | None:
    """Return the kind of object that a class makes, or None where it holds no config."""
    return next((one for one in _KINDS if one.owns(kind)), None)


def held_by(value: Any) -> Mapping[Any, Any] | None:
    """Return the entries of an object that holds a config, of a mapping itself; None for any other value."""
    if isinstance(value, Mapping):
        return value
    kind = None if isinstance(value, type) else kind_of(type(value))
    if kind is None:
        return None
    found: dict[Any, Any] = {}
    for member in kind.members(type(value), value, MISSING):
        if member.present is not MISSING:
            found[member.name] = member.present
    return found


def options_of(annotation: Any) -> tuple[Any, ...]:
    """Return the types that an annotation allows: those of a union, else itself."""
    while typing.get_origin(annotation) in (typing.Annotated, typing.Final, typing.ClassVar):
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(found for one in typing.get_args(annotation) for found in options_of(one))
    return (annotation,)


def takes_entries(annotation: Any) -> bool:
    """Say whether a value of a type is made of named entries: a mapping, an object of a kind, a named tuple."""
    made = typing.get_origin(annotation) or annotation
    if not isinstance(made, type):
        return False
    return kind_of(made) is not None or (issubclass(made, tuple) and made is not tuple)


def admits_none(annotation: Any) -> bool:
    """Say whether None is a value that an annotation allows; where none is declared, it is."""
    return any(one in (MISSING, Any, None, type(None)) for one in options_of(annotation))


def class_meant(annotation: Any) -> type | None:
    """Return the one class in an annotation whose objects hold a config, mappings aside; None where there is no one."""
    found = [
        one
        for one in options_of(annotation)
        if isinstance(one, type) and not issubclass(one, Mapping) and kind_of(one) is not None
    ]
    return found[0] if len(found) == 1 else None
