"""Pydantic models; the library is looked up among what is imported, never imported here."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core.config.targets.base import MISSING, Kind, Member, same
from ckpt_core.errors import UsageError

__all__ = ["PydanticKind"]


class PydanticKind(Kind):
    """A pydantic model, whose `model_fields_set` says what was given."""

    tells_defaults = True

    def owns(self, kind: type) -> bool:
        library = sys.modules.get("pydantic")
        return library is not None and issubclass(kind, library.BaseModel)

    def members(self, kind: Any, instance: Any, base: Any) -> Iterator[Member]:
        for key, info in kind.model_fields.items():
            default = _default(info) if base is MISSING else getattr(base, key)
            was_set = instance is not None and key in instance.model_fields_set
            # What nobody set is the default, whatever was set in an object that is the default.
            value = getattr(instance, key) if was_set else MISSING
            yield Member(key, key, info.annotation, default, value, was_set, spelling=_alias(info))

    def held(self, instance: Any) -> Mapping[Any, Any]:
        own = {key: getattr(instance, key) for key in type(instance).model_fields}
        return {**own, **(instance.model_extra or {})}

    def takes_others(self, kind: Any) -> bool:
        return bool(kind.model_config.get("extra") == "allow")

    def made(self, kind: Any, origin: Any, values: Mapping[Any, Any]) -> Any:
        """Return a new model, validated; of an origin a `model_copy`, with what validation changed beside it."""
        if origin is not None and not values:
            return origin
        known = {} if origin is None else {key: getattr(origin, key) for key in origin.model_fields_set}
        spelled = {
            (_alias(kind.model_fields[key]) if key in kind.model_fields else "") or key: value
            for key, value in {**known, **values}.items()
        }
        try:
            made = kind.model_validate(spelled)
        except ValueError as error:  # pydantic's own error is one
            raise UsageError(f"{kind.__name__} does not take these values: {error}") from error
        if origin is None:
            return made
        found = {key: getattr(made, key) for key in kind.model_fields}
        changed = {key: v for key, v in found.items() if key in values or not same(v, getattr(origin, key))}
        changed |= {key: v for key, v in (made.model_extra or {}).items() if key in values}
        return origin.model_copy(update=changed)


def _default(info: Any) -> Any:
    return MISSING if info.is_required() else info.get_default(call_default_factory=True)


def _alias(info: Any) -> str:
    """The name that validation looks for, where it is not the field's own."""
    alias = info.validation_alias
    if isinstance(alias, sys.modules["pydantic"].AliasChoices):
        alias = next((one for one in alias.choices if isinstance(one, str)), None)
    return alias if isinstance(alias, str) else info.alias or ""
