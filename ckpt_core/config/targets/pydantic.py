"""Pydantic models as targets; the library is looked up among what is imported, never imported here."""

from __future__ import annotations

import sys
import typing
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ckpt_core.config.targets.base import MISSING, Field, Target, nested
from ckpt_core.errors import UsageError

__all__ = ["PydanticTarget", "is_model"]


def is_model(value: Any) -> bool:
    """Say whether a value is a pydantic model or a class of one."""
    library = sys.modules.get("pydantic")
    kind = value if isinstance(value, type) else type(value)
    return library is not None and issubclass(kind, library.BaseModel)


class PydanticTarget(Target):
    """A pydantic model, or an instance of one, whose `model_fields_set` says what was given.

    Arguments:
        into: the class or the instance.
        explicit: further fields of the instance that were given.
    """

    def __init__(self, into: Any, explicit: Collection[str] = ()) -> None:
        self.kind: Any = into if isinstance(into, type) else type(into)
        self.instance = None if isinstance(into, type) else into
        super().__init__(self.kind.__name__, list(_fields(self.kind, self.instance, "", explicit)))

    def make(self, changes: Mapping[str, Any]) -> Any:
        """Return a new model: validated where it is made, a `model_copy` where there is one already."""
        if self.instance is not None:
            return _copied(self.instance, nested(changes))
        try:
            return self.kind.model_validate(_spelled(self.kind, nested(changes)))
        except ValueError as error:  # pydantic's own error is one
            raise UsageError(f"{self.kind.__name__} does not take these values: {error}") from error


def _fields(
    kind: Any, instance: Any, prefix: str, explicit: Collection[str], base: Any = MISSING
) -> Iterator[Field]:
    """The fields of a model; `base` is the default that the field around it declares, or MISSING."""
    for key, info in kind.model_fields.items():
        name = f"{prefix}{key}"
        value = MISSING if instance is None else getattr(instance, key)
        default = _default(info) if base is MISSING else getattr(base, key)
        was_set = instance is not None and (key in instance.model_fields_set or name in explicit)
        inner = type(value) if is_model(value) else _inner(info.annotation)
        if inner is not None and value is not None and (value is not MISSING or default is not None):
            inner_base = default if isinstance(default, inner) else MISSING
            yield from _fields(inner, value if was_set else None, f"{name}.", explicit, inner_base)
        else:
            yield Field(name, info.annotation, default, value if was_set else MISSING)


def _default(info: Any) -> Any:
    return MISSING if info.is_required() else info.get_default(call_default_factory=True)


def _inner(annotation: Any) -> Any:
    """The model that an annotation means, also in `Model | None`; else None."""
    found = [option for option in (annotation, *typing.get_args(annotation)) if is_model(option)]
    is_collection = typing.get_origin(annotation) in (list, tuple, dict, set)
    return found[0] if len(found) == 1 and not is_collection else None


def _spelled(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values under the names that validation looks for: a field's alias, where it has one."""
    found = {}
    for key, value in values.items():
        info = kind.model_fields[key]
        inner, default = _inner(info.annotation), _default(info)
        alias = info.validation_alias if isinstance(info.validation_alias, str) else info.alias
        is_nested = inner is not None and isinstance(value, Mapping)
        name = alias or key
        if not is_nested:
            found[name] = value
        else:
            found[name] = _copied(default, value) if is_model(default) else _spelled(inner, value)
    return found


def _copied(instance: Any, changes: Mapping[str, Any]) -> Any:
    if not changes:
        return instance
    update = {}
    for key, change in changes.items():
        current = getattr(instance, key)
        update[key] = (
            _copied(current, change) if is_model(current) and isinstance(change, Mapping) else change
        )
    return instance.model_copy(update=update)
