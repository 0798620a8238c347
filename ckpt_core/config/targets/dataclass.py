"""Dataclasses: of an instance, the values that differ from their defaults were given."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core.config.targets.base import MISSING, Kind, Member, same
from ckpt_core.errors import UsageError

__all__ = ["DataclassKind", "annotations_of"]


class DataclassKind(Kind):
    """A dataclass."""

    tells_defaults = True

    def owns(self, kind: type) -> bool:
        return dataclasses.is_dataclass(kind)

    def members(self, kind: type, instance: Any, base: Any) -> Iterator[Member]:
        hints = annotations_of(kind)
        for item in dataclasses.fields(kind):
            if not item.init:
                continue
            default = _default(item) if base is MISSING else getattr(base, item.name)
            value = MISSING if instance is None else getattr(instance, item.name)
            is_given = value is not MISSING and not same(value, default)
            yield Member(
                item.name, item.name, hints.get(item.name, MISSING), default, value, is_given=is_given
            )

    def held(self, instance: Any) -> Mapping[Any, Any]:
        names = [item.name for item in dataclasses.fields(instance)]
        return {name: getattr(instance, name) for name in names if hasattr(instance, name)}

    def made(self, kind: Any, origin: Any, values: Mapping[Any, Any]) -> Any:
        """Return a new object; a copy by `dataclasses.replace` where there is an origin."""
        if origin is not None and not values:
            return origin
        try:
            return kind(**values) if origin is None else dataclasses.replace(origin, **values)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{kind.__name__} does not take these values: {error}") from error


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


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default is not dataclasses.MISSING:
        return item.default
    return item.default_factory() if item.default_factory is not dataclasses.MISSING else MISSING
