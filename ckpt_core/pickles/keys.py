"""What may be a dictionary key or an element of a set.

`hash` of a nested tuple recurses on the C stack and walks shared parts again and again, and numbers can be
chosen so that all have one hash; so keys are small, and many that collide are refused.
"""

from __future__ import annotations

import datetime
from pathlib import PurePath
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import DamagedFileError, LimitError
from ckpt_core.pickles.blob import Blob
from ckpt_core.pickles.constructors import Pending, Unfinished
from ckpt_core.tree import Global, Record

__all__ = ["MAX_COLLISIONS", "MAX_KEY_PARTS", "Keys", "is_plain"]

MAX_KEY_PARTS: Final = 256
"""Values in one tuple that is a key, those of tuples in it included."""

MAX_COLLISIONS: Final = 1000
"""Keys of one dictionary (or set) that may have the same hash."""

_SAFE: Final = frozenset({str, bytes, bool, float, type(None)})
_PLAIN: Final = (
    int,
    complex,
    np.generic,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    datetime.tzinfo,
    PurePath,
)
_BY_IDENTITY: Final = (Record, LazyArray, Global)


def is_plain(value: Any) -> bool:
    """Say whether a checked key is one that a set of plain values may hold: an atom, or a tuple of such.

    A frozenset is none, so that sets do not nest.
    """
    parts = [value]
    while parts:
        part = parts.pop()
        if type(part) is tuple:
            parts.extend(part)
        elif not (type(part) in _SAFE or isinstance(part, _PLAIN)):
            return False
    return True


class Keys:
    """The keys of one pickle, checked one by one.

    Arguments:
        work: the parts of tuples that may be looked at in all.
    """

    def __init__(self, work: int) -> None:
        self._work = work
        self._collisions: dict[tuple[int, int], int] = {}

    def check(self, key: Any, container: Any) -> Any:
        """Return the key that goes into `container`, with Blobs and pending values resolved.

        Raises:
            DamagedFileError: it cannot be hashed.
            LimitError: it is too large, or one of too many with the same hash.
        """
        kind = type(key)
        if kind in _SAFE or (kind is int and -(1 << 60) < key < 1 << 60):
            return key
        if kind is Blob or kind is Pending or isinstance(key, Unfinished):
            return self.check(_final(key), container)
        if kind is tuple:
            key = self._tuple(key)
        elif not (isinstance(key, (*_PLAIN, *_BY_IDENTITY)) or kind is frozenset):
            raise DamagedFileError(f"a {kind.__name__} cannot be a dictionary key")
        place = id(container), hash(key)
        count = self._collisions[place] = self._collisions.get(place, 0) + 1
        if count > MAX_COLLISIONS:
            raise LimitError(f"more than {MAX_COLLISIONS} keys have the same hash")
        return key

    def _tuple(self, key: tuple[Any, ...]) -> tuple[Any, ...]:
        """Check a tuple without recursion over its depth; the parts bound the depth too."""
        parts = [key]
        replace = False
        seen = 0
        while parts:
            part = parts.pop()
            seen += len(part) + 1
            self._work -= len(part) + 1
            if seen > MAX_KEY_PARTS or self._work < 0:
                raise LimitError(f"a dictionary key has more than {MAX_KEY_PARTS} parts")
            for item in part:
                kind = type(item)
                if kind is tuple:
                    parts.append(item)
                elif kind is Blob or kind is Pending or isinstance(item, Unfinished):
                    replace = True
                elif not (kind in _SAFE or isinstance(item, (*_PLAIN, *_BY_IDENTITY)) or kind is frozenset):
                    raise DamagedFileError(f"a {kind.__name__} cannot be a part of a dictionary key")
        return _rebuilt(key) if replace else key


def _rebuilt(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_rebuilt(item) if type(item) is tuple else _final(item) for item in key)


def _final(item: Any) -> Any:
    if type(item) is Blob:
        return item.value()
    if type(item) is Pending:
        value = item.value
        return value if isinstance(value, (*_BY_IDENTITY, *_PLAIN)) else Record(item.name, args=item.args)
    return item.finish() if isinstance(item, Unfinished) else item
