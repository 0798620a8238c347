"""Target: a kind of object that holds a config, as a flat list of fields, and how one is made."""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["MISSING", "Field", "Target", "nested", "same"]


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final[Any] = _Missing()
"""No value."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a config.

    Arguments:
        name: dotted.
        annotation: its type, as far as one is declared; MISSING where none is.
        default: its default; MISSING where it has none.
        given: the value that somebody gave it explicitly in an instance; MISSING where nobody did.
    """

    name: str
    annotation: Any = MISSING
    default: Any = MISSING
    given: Any = MISSING


class Target(abc.ABC):
    """A config to fill, of one kind.

    Arguments:
        title: how messages call it: "SlotConfig", "the Namespace".
        fields: by dotted name, in order.
        is_open: it takes entries that are no fields, too.
        tells_defaults: of its values it is known which were given and which are defaults.
        keys: of an open target, the keys that lead to a field, where they are not the parts of its name.
    """

    is_open = False
    tells_defaults = True

    def __init__(self, title: str, fields: Collection[Field]) -> None:
        self.title = title
        self.fields: dict[str, Field] = {field.name: field for field in fields}
        self.keys: dict[str, tuple[Any, ...]] = {}

    @abc.abstractmethod
    def make(self, changes: Mapping[str, Any]) -> Any:
        """Return a new object with some fields set, the others at their default or as in the instance."""


def nested(changes: Mapping[str, Any], keys: Mapping[str, tuple[Any, ...]] | None = None) -> dict[Any, Any]:
    """Return dotted names as nested dicts; where a name is also a group, the rest stays dotted.

    Arguments:
        changes: values by dotted name.
        keys: for some names the keys to nest by.

    Example:
        >>> nested({"optim.lr": 0.1, "seed": 3})
        {'optim': {'lr': 0.1}, 'seed': 3}
    """
    found: dict[Any, Any] = {}
    for name, value in changes.items():
        path = list((keys or {}).get(name) or name.split("."))
        node = found
        while len(path) > 1:
            child = node.setdefault(path[0], _Group())
            if not isinstance(child, _Group):
                break
            node = child
            del path[0]
        node[path[0] if len(path) == 1 else ".".join(map(str, path))] = value
    return _as_dicts(found)


class _Group(dict[Any, Any]):
    """A level that `nested` made, told apart from values that are dicts."""


def _as_dicts(node: dict[Any, Any]) -> dict[Any, Any]:
    return {key: _as_dicts(child) if isinstance(child, _Group) else child for key, child in node.items()}


def same(one: Any, other: Any) -> bool:
    """Say whether two values are equal; what does not say so with a plain bool (arrays) is not."""
    if one is other:
        return True
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:  # noqa: BLE001  # the comparison is the value's own code
        return False
