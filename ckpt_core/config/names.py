"""Names: which field of a config an entry of another one means."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ckpt_core.config.targets import held_by
from ckpt_core.errors import LimitError

__all__ = ["Entry", "Names", "entries_of"]

_MAX_ENTRIES: Final = 100_000
_MAX_DEPTH: Final = 60
_LOOK: Final = 2000
"""Fields that are looked through for one that is spelled alike."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A value in a nested config, also where it is itself one; its dotted name, and the keys that lead to it."""

    name: str
    value: Any
    keys: tuple[Any, ...] = ()

    @property
    def is_group(self) -> bool:
        """Whether entries lie below it."""
        return bool(held_by(self.value))


def entries_of(config: Mapping[Any, Any]) -> Iterator[Entry]:
    """Yield the entries of a nested config, groups before what is in them.

    Raises:
        LimitError: it is nested without end, or has more entries than a config.
    """
    stack = [Entry(str(key), value, (key,)) for key, value in reversed(list(config.items()))]
    seen = 0
    while stack:
        entry = stack.pop()
        seen += 1
        if seen > _MAX_ENTRIES or len(entry.keys) > _MAX_DEPTH:
            raise LimitError("is too large or too deeply nested for a config", place=entry.name[:100])
        yield entry
        stack += [
            Entry(f"{entry.name}.{key}", child, (*entry.keys, key))
            for key, child in reversed(list((held_by(entry.value) or {}).items()))
        ]


class Names:
    """The fields of a config, found by names that may be spelled otherwise.

    Case and `-` against `_` make no difference. A shorter dotted name finds the one field that ends with it, and a
    longer one finds the field that it ends with: `hidden_dim` and `encoder.hidden_dim`.

    Arguments:
        fields: dotted names.
        aliases: field to other spellings of it.

    Example:
        >>> Names(["hidden_dim", "optim.lr"], {"hidden_dim": ["width"]}).find("WIDTH")
        'hidden_dim'
    """

    def __init__(self, fields: Iterable[str], aliases: Mapping[str, Sequence[str]] | None = None) -> None:
        self.fields: dict[str, None] = {}
        # Every ending of every field's name, with the fields that have it and whether it is the whole name.
        self._endings: dict[tuple[str, ...], dict[str, bool]] = {}
        self._aliases = {
            _key(other): _key(name)
            for name, others in (aliases or {}).items()
            for other in ([others] if isinstance(others, str) else others)
        }
        for name in fields:
            self.add(name)

    def add(self, name: str) -> None:
        """Add a field."""
        if name in self.fields:
            return
        self.fields[name] = None
        key = _key(name)
        for form in dict.fromkeys([key, self._translated(key)]):
            for start in range(len(form)):
                self._endings.setdefault(form[start:], {})[name] = start == 0

    def add_new(self, names: Iterable[str]) -> None:
        """Add those of some names that mean no field yet."""
        for name in names:
            if self.find(name) is None:
                self.add(name)

    def find(self, name: str) -> str | None:
        """Return the field that a name means, or None where there is none, or several."""
        if name in self.fields:
            return name
        key = _key(name)
        return self._ending(key) or self._ending(self._translated(key))

    def closeness(self, name: str, field: str) -> int:
        """Say how well a name that was found fits its field; less is better."""
        if name == field:
            return 0
        return 1 if _key(name) == _key(field) else 2

    def near(self, name: str) -> list[str]:
        """Return up to three fields that are spelled like a name."""
        return difflib.get_close_matches(name, list(self.fields)[:_LOOK], 3, 0.5)

    def _ending(self, key: tuple[str, ...]) -> str | None:
        """The one field that ends with the key, or that the key ends with."""
        for start in range(len(key)):
            found = self._endings.get(key[start:])
            if found:
                whole = [name for name, is_whole in found.items() if is_whole]
                best = whole or ([] if start else list(found))
                return best[0] if len(best) == 1 else None
        return None

    def _translated(self, key: tuple[str, ...]) -> tuple[str, ...]:
        if key in self._aliases:
            return self._aliases[key]
        last = self._aliases.get(key[-1:])
        return key if last is None else (*key[:-1], *last)


def _key(name: str) -> tuple[str, ...]:
    return tuple(name.casefold().replace("-", "_").split("."))
