"""Names of texts that a container finds by JSON pointers (RFC 6901), unescaped as they are."""

from __future__ import annotations

from typing import Final

__all__ = ["TextNames"]

_MAX_PARTS: Final = 100
"""Levels of nesting that a name may have by its slashes."""


class TextNames:
    """Names of which a pointer tells each: none has a `~`, and none is the beginning of another one at a `/`.

    Example:
        >>> names = TextNames()
        >>> names.add("a/b"), names.add("a/c"), names.add("a"), names.add("~")
        (True, True, False, False)
    """

    def __init__(self) -> None:
        self._names: set[tuple[str, ...]] = set()
        self._beginnings: set[tuple[str, ...]] = set()

    def add(self, name: str) -> bool:
        """Take a name, unless a pointer cannot tell it from those before."""
        parts = tuple(name.split("/"))
        if "~" in name or len(parts) > _MAX_PARTS or parts in self._beginnings:
            return False
        beginnings = {parts[:depth] for depth in range(1, len(parts))}
        if not self._names.isdisjoint(beginnings):
            return False
        self._names.add(parts)
        self._beginnings |= beginnings
        return True
