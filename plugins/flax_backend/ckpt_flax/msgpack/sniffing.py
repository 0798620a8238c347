"""Whether a file is msgpack that Flax wrote."""

from __future__ import annotations

from typing import Final

from ckpt_core.errors import DamagedFileError
from ckpt_core.source import Source
from ckpt_flax.msgpack.extensions import COMPLEX, NDARRAY, SCALAR
from ckpt_flax.msgpack.tokens import ARRAY, EXT, MAP, STR, VALUE, Cursor

__all__ = ["looks_like_flax"]

_ENOUGH: Final = 200
_ENOUGH_UNNAMED: Final = 100_000
"""Tokens after which sniffing is sure, with a name at the start and without."""


def looks_like_flax(source: Source) -> bool:
    """Say whether a file is msgpack: a map with a text as its first key, or anything else that parses to the end.

    The first tokens of a map decide, so that a truncated file is known for what it is. Bare numbers and texts,
    which any short file could be, are not claimed.
    """
    cursor = Cursor(source)
    try:
        kind, count = cursor.token()
        if kind == EXT:
            code = cursor.ext_code()
            cursor.skip(count)
            return code in (NDARRAY, COMPLEX, SCALAR) and cursor.position == cursor.end
        if kind not in (MAP, ARRAY) or count * (2 if kind == MAP else 1) > cursor.end:
            return False
        pending = count * (2 if kind == MAP else 1)
        named = kind == MAP and count > 0 and _first_key_is_name(cursor)
        pending -= named
    except DamagedFileError:
        return False
    try:
        return _skim(cursor, pending, _ENOUGH if named else _ENOUGH_UNNAMED)
    except DamagedFileError as error:
        return named and "inside a value" in error.reason


def _first_key_is_name(cursor: Cursor) -> bool:
    """Take the first key when it is a printable text; else leave it."""
    start = cursor.position
    kind, length = cursor.token()
    if kind == STR and 0 < length <= 4096 and cursor.text(length).isprintable():
        return True
    cursor.seek(start)
    return False


def _skim(cursor: Cursor, pending: int, tokens: int) -> bool:
    """Step over values without making anything of them; True at the exact end or after enough tokens."""
    while pending:
        if tokens == 0:
            return True
        tokens -= 1
        pending -= 1
        kind, length = cursor.token()
        if kind == MAP:
            pending += 2 * length
        elif kind == ARRAY:
            pending += length
        elif kind != VALUE:
            cursor.skip(length + (kind == EXT))
        if pending > cursor.end:
            return False
    return cursor.position == cursor.end
