"""`ml_collections.ConfigDict`; the library is looked up among what is imported, never imported here."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core.config.targets.base import MISSING, Kind, Member, same
from ckpt_core.errors import UsageError

__all__ = ["ConfigDictKind"]


class ConfigDictKind(Kind):
    """A ConfigDict, a frozen one too, with those in it: their references lead from one to another."""

    def owns(self, kind: type) -> bool:
        library = sys.modules.get("ml_collections")
        return library is not None and issubclass(kind, library.ConfigDict)

    def members(self, kind: type, instance: Any, base: Any) -> Iterator[Member]:
        own = {} if instance is None else {one.key: one for one in _entries(instance, ())}
        if not self.owns(type(base)):
            yield from own.values()
            return
        declared = {one.key: one for one in _entries(base, ())}
        for key, one in {**declared, **own}.items():
            default = declared[key].value if key in declared else MISSING
            value = own[key].value if key in own else MISSING
            is_given = value is not MISSING and not same(value, default)
            yield Member(key, one.name, one.annotation, default, value, is_given=is_given)

    def held(self, instance: Any) -> Mapping[Any, Any]:
        library: Any = sys.modules["ml_collections"]
        found = {}
        for key in instance:
            with contextlib.suppress(library.config_dict.RequiredValueError):
                found[key] = instance[key]
        return found

    def made(self, kind: Any, origin: Any, values: Mapping[Any, Any]) -> Any:
        """Return a new ConfigDict of the same class; types are kept as it keeps them."""
        library: Any = sys.modules["ml_collections"]
        origin = kind() if origin is None else origin
        is_plain = type(origin) is library.ConfigDict
        made = copy.deepcopy(origin) if is_plain else library.ConfigDict(origin)
        with made.unlocked():
            for key, value in values.items():
                _put(made, key if isinstance(key, tuple) else (key,), value, library.ConfigDict)
        return made if is_plain else type(origin)(made)

    def title(self, kind: type) -> str:
        return "the ConfigDict"


def _put(config: Any, keys: tuple[str, ...], value: Any, kind: Any) -> None:
    for key in keys[:-1]:
        if key not in config:
            config[key] = kind()
        config = config[key]
    try:
        config[keys[-1]] = value
    except TypeError as error:
        raise UsageError(f"the ConfigDict does not take {'.'.join(keys)} = {value!r}: {error}") from error


def _entries(config: Any, above: tuple[str, ...]) -> Iterator[Member]:
    library: Any = sys.modules["ml_collections"]
    for key in config:
        path = (*above, key)
        name = ".".join(path)
        try:
            value, kind = config[key], config.get_type(key)
        except library.config_dict.RequiredValueError:  # a placeholder that wants a value
            yield Member(path, name)
            continue
        if isinstance(value, library.ConfigDict) and len(value):
            yield from _entries(value, path)
        elif value is None and kind is not type(None):  # a placeholder that may stay empty
            yield Member(path, name, kind | None, value=None)
        else:
            yield Member(path, name, value=value)
