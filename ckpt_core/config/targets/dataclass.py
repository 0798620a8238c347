"""Dataclasses as targets: the class, or an instance whose values differ from the defaults where they were given."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Mapping
from typing import Any

from ckpt_core.config.targets.base import MISSING, Field, Target, nested, same
from ckpt_core.errors import UsageError

__all__ = ["DataclassTarget", "annotations_of", "inner_dataclass"]


class DataclassTarget(Target):
    """A dataclass, or an instance of one; nested ones are filled, too.

    Arguments:
        into: the class or the instance.
        explicit: fields whose values in the instance were given, though they equal the default.
    """

    def __init__(self, into: Any, explicit: Collection[str] = ()) -> None:
        self.kind: type = into if isinstance(into, type) else type(into)
        self.instance = None if isinstance(into, type) else into
        super().__init__(self.kind.__name__, list(_fields(self.kind, MISSING, self.instance, "", explicit)))

    def make(self, changes: Mapping[str, Any]) -> Any:
        """Return a new object; an instance is copied by `dataclasses.replace`."""
        return _made(self.kind, self.instance, nested(changes))


def annotations_of(kind: type) -> dict[str, Any]:
    """Return a class's annotations, those left out that name what is not there."""
    try:
        return typing.get_type_hints(kind)
    except (NameError, TypeError, AttributeError):
        declared = {item.name: item.type for item in dataclasses.fields(kind)}
        return {
            name: found for name, one in declared.items() if (found := _evaluated(one, kind)) is not MISSING
        }


def _evaluated(annotation: Any, kind: type) -> Any:
    holder = type("Holder", (), {"__annotations__": {"it": annotation}, "__module__": kind.__module__})
    try:
        return typing.get_type_hints(holder)["it"]
    except (NameError, TypeError, AttributeError):
        return MISSING


def inner_dataclass(annotation: Any) -> type | None:
    """Return the dataclass that an annotation means, also in `Config | None`; else None."""
    options = [annotation, *typing.get_args(annotation)]
    found = [option for option in options if isinstance(option, type) and dataclasses.is_dataclass(option)]
    return (
        found[0]
        if len(found) == 1 and typing.get_origin(annotation) not in (list, tuple, dict, set)
        else None
    )


def _fields(
    kind: type, base: Any, instance: Any, prefix: str, explicit: Collection[str]
) -> typing.Iterator[Field]:
    """The fields of a dataclass; `base` is the default that the field around it declares, or MISSING."""
    hints = annotations_of(kind)
    for item in dataclasses.fields(kind):
        if not item.init:
            continue
        name, annotation = f"{prefix}{item.name}", hints.get(item.name, MISSING)
        default = _default(item) if base is MISSING else getattr(base, item.name)
        value = MISSING if instance is None else getattr(instance, item.name)
        inner = inner_dataclass(annotation)
        if inner is None and dataclasses.is_dataclass(default) and not isinstance(default, type):
            inner = type(default)
        if inner is not None and value is not None and (value is not MISSING or default is not None):
            is_instance = dataclasses.is_dataclass(value)
            kind_of = type(value) if is_instance else inner
            inner_base = default if isinstance(default, kind_of) else MISSING
            yield from _fields(kind_of, inner_base, value if is_instance else None, f"{name}.", explicit)
        else:
            is_given = value is not MISSING and (not same(value, default) or name in explicit)
            yield Field(name, annotation, default, value if is_given else MISSING)


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default is not dataclasses.MISSING:
        return item.default
    return item.default_factory() if item.default_factory is not dataclasses.MISSING else MISSING


def _made(kind: type, instance: Any, changes: Mapping[str, Any]) -> Any:
    hints = annotations_of(kind)
    values: dict[str, Any] = {}
    for item in dataclasses.fields(kind):
        if item.name not in changes:
            continue
        change = changes[item.name]
        current = _default(item) if instance is None else getattr(instance, item.name)
        is_nested = dataclasses.is_dataclass(current) and not isinstance(current, type)
        inner = type(current) if is_nested else inner_dataclass(hints.get(item.name))
        if inner is not None and isinstance(change, Mapping):
            change = _made(inner, current if is_nested else None, change)
        values[item.name] = change
    if instance is not None and not values:
        return instance
    try:
        return kind(**values) if instance is None else dataclasses.replace(instance, **values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{kind.__name__} does not take these values: {error}") from error
