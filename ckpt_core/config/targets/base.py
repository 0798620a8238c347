"""Kind: objects that hold a config, as their members, and how a new one is made."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

__all__ = ["MISSING", "Field", "Kind", "Member", "nested", "same"]


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


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an object that holds a config, or of its class.

    Arguments:
        key: what leads to it in the object.
        name: the same as text.
        annotation: its type, as far as one is declared; MISSING where none is.
        default: what it is when nobody says anything; MISSING where that is not known.
        value: what it is in the instance; MISSING of a class.
        is_given: the instance tells that its value was given explicitly.
        spelling: the name under which it is written and read, where that is another; "" where not.
    """

    key: Any
    name: str
    annotation: Any = MISSING
    default: Any = MISSING
    value: Any = MISSING
    is_given: bool = False
    spelling: str = ""

    @property
    def present(self) -> Any:
        """What it is now: its value, else its default."""
        return self.default if self.value is MISSING else self.value


class Kind(abc.ABC):
    """One kind of object that holds a config; what is nested in it may be of any other kind.

    Arguments:
        tells_defaults: an instance tells which of its values were given and which are defaults.
    """

    tells_defaults: ClassVar[bool] = False

    @abc.abstractmethod
    def owns(self, kind: type) -> bool:
        """Say whether a class is of this kind."""

    @abc.abstractmethod
    def members(self, kind: type, instance: Any, base: Any) -> Iterator[Member]:
        """Yield the members of an instance, or of a class.

        Arguments:
            kind: the class.
            instance: the instance; None of a class.
            base: the object that the field around it declares as its default; MISSING without one.
        """

    @abc.abstractmethod
    def held(self, instance: Any) -> Mapping[Any, Any]:
        """Return what an instance holds now, by key, one level deep; what has no value is left out."""

    @abc.abstractmethod
    def made(self, kind: type, origin: Any, values: Mapping[Any, Any]) -> Any:
        """Return a new object.

        Arguments:
            kind: the class.
            origin: an object of it whose other members are taken, and which is not changed; None without one.
            values: by key.

        Raises:
            UsageError: it does not take the values.
        """

    def takes_others(self, kind: type) -> bool:
        """Say whether an object takes entries that its class does not declare, and keeps them."""
        return False

    def title(self, kind: type) -> str:
        """Return what messages call it."""
        return kind.__name__


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
