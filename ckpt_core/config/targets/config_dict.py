"""`ml_collections.ConfigDict` as a target; the library is looked up among what is imported, never imported here."""

from __future__ import annotations

import copy
import sys
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ckpt_core.config.targets.base import MISSING, Field, Target
from ckpt_core.errors import UsageError

__all__ = ["ConfigDictTarget", "is_config_dict"]


def is_config_dict(value: Any) -> bool:
    """Say whether a value is a ConfigDict, a frozen one too, or the class."""
    library = sys.modules.get("ml_collections")
    kind = value if isinstance(value, type) else type(value)
    return library is not None and issubclass(kind, library.ConfigDict)


class ConfigDictTarget(Target):
    """A ConfigDict: what it holds already counts as default; an empty one, or the class, takes every entry.

    Arguments:
        into: the ConfigDict, or its class.
        explicit: fields whose values were given.
    """

    def __init__(self, into: Any, explicit: Collection[str] = ()) -> None:
        self.instance = into() if isinstance(into, type) else into
        super().__init__("the ConfigDict", list(_fields(self.instance, "", explicit)))
        self.is_open = not self.fields
        self.tells_defaults = bool(explicit)

    def make(self, changes: Mapping[str, Any]) -> Any:
        """Return a new ConfigDict of the same class; types are kept as it keeps them."""
        library: Any = sys.modules["ml_collections"]
        is_plain = type(self.instance) is library.ConfigDict
        made = copy.deepcopy(self.instance) if is_plain else library.ConfigDict(self.instance)
        with made.unlocked():
            for name, value in changes.items():
                _put(made, name.split("."), value, library.ConfigDict)
        return made if is_plain else type(self.instance)(made)


def _put(config: Any, keys: list[str], value: Any, kind: Any) -> None:
    for depth, key in enumerate(keys[:-1]):
        if key not in config:
            config[key] = kind()
        if not isinstance(config[key], kind):  # a key with dots of its own
            keys = [*keys[:depth], ".".join(keys[depth:])]
            break
        config = config[key]
    try:
        config[keys[-1]] = value
    except TypeError as error:
        raise UsageError(f"the ConfigDict does not take {'.'.join(keys)} = {value!r}: {error}") from error


def _fields(config: Any, prefix: str, explicit: Collection[str]) -> Iterator[Field]:
    library: Any = sys.modules["ml_collections"]
    for key in config:
        name = f"{prefix}{key}"
        try:
            value, kind = config[key], config.get_type(key)
        except library.config_dict.RequiredValueError:  # a placeholder that wants a value
            yield Field(name)
            continue
        if isinstance(value, type(config)) and len(value):
            yield from _fields(value, f"{name}.", explicit)
        elif value is None and kind is not type(None):  # a placeholder that may stay empty
            yield Field(name, kind | None, None)
        else:
            yield Field(name, MISSING, value, value if name in explicit else MISSING)
