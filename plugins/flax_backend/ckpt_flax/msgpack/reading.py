"""msgpack, as Flax writes it, read as structure: the bytes of arrays stay where they are.

The wire format is msgpack (https://github.com/msgpack/msgpack/blob/master/spec.md). Nothing here recurses. A
declared length is compared with the bytes that are left before anything is made of it.
"""

from __future__ import annotations

from typing import Any, Final

from ckpt_core.errors import LimitError
from ckpt_core.source import Source
from ckpt_core.tree import MAX_DEPTH
from ckpt_flax.msgpack.chunks import CHUNKED, unchunked
from ckpt_flax.msgpack.extensions import read_extension
from ckpt_flax.msgpack.tokens import BIN, EXT, MAP, STR, VALUE, Cursor

__all__ = ["HEADER_MARK", "parse"]

HEADER_MARK: Final = "ckpt_core:"
"""How the text of the metadata entry begins; JSON follows."""

MAX_NODES: Final = 5_000_000
"""Values, containers included, that a file may hold."""


class _Frame:
    """A container under construction."""

    __slots__ = ("container", "key", "remaining")

    def __init__(self, container: Any, remaining: int, key: Any) -> None:
        self.container = container
        self.remaining = remaining
        self.key = key  # under which it stands in the container above


_NO_KEY: Final = object()


def parse(source: Source) -> tuple[Any, str | None]:
    """Parse a whole source.

    Returns:
        The tree, and the text of the metadata entry behind its mark, if there is one.

    Raises:
        DamagedFileError: it is not well-formed, or it does not end where the tree ends.
        LimitError: it is nested too deeply, or holds too many or too long values.
    """
    return _Parser(source).run()


class _Parser:
    def __init__(self, source: Source) -> None:
        self.cursor = Cursor(source)
        self.stack: list[_Frame] = []
        self.header: str | None = None
        self.budget = MAX_NODES
        self.result: Any = None

    def run(self) -> tuple[Any, str | None]:
        cursor, stack = self.cursor, self.stack
        self.deliver(_NO_KEY)
        while stack:
            frame = stack[-1]
            if frame.remaining == 0:
                stack.pop()
                self.close(frame)
                continue
            frame.remaining -= 1
            self.deliver(self.key(frame.container) if type(frame.container) is dict else _NO_KEY)
        if cursor.position != cursor.end:
            raise cursor.damaged(f"{cursor.end - cursor.position} bytes follow after the end of the tree")
        return self.result, self.header

    def key(self, container: dict[Any, Any]) -> Any:
        cursor = self.cursor
        at = cursor.position
        kind, key = cursor.token()
        if kind == STR:
            key = cursor.text(key)
        elif kind == BIN:
            key = cursor.take(key)
        elif kind != VALUE:
            raise cursor.damaged("a map has a key that is no plain value", at)
        if key in container and not self._is_header(container, key):
            raise cursor.damaged(f"the key {str(key)[:100]!r} is there twice", at)
        return key

    def _is_header(self, container: dict[Any, Any], key: Any) -> bool:
        """A first entry whose key repeats at once and whose text is marked is metadata, not a value."""
        if len(self.stack) != 1 or len(container) != 1 or self.header is not None:
            return False
        value = container[key]
        if type(value) is not str or not value.startswith(HEADER_MARK):
            return False
        self.header = value[len(HEADER_MARK) :]
        return True

    def deliver(self, key: Any) -> None:
        """Read one value; a leaf is placed at once, a container that is not empty is pushed."""
        self.budget -= 1
        if self.budget < 0:
            raise LimitError(f"holds more than {MAX_NODES} values", path=self.cursor.source.path)
        cursor = self.cursor
        kind, value = cursor.token()
        if kind == EXT:
            value = read_extension(cursor, value)
        elif kind == STR:
            value = cursor.text(value)
        elif kind == BIN:
            value = cursor.take(value)
        elif kind != VALUE:
            return self.enter(kind, value, key)
        self.place(key, value)
        return None

    def enter(self, kind: int, count: int, key: Any) -> None:
        cursor = self.cursor
        if count * (2 if kind == MAP else 1) > cursor.end - cursor.position:
            raise cursor.damaged(f"{count} entries are declared, more than the bytes that follow")
        if count and len(self.stack) >= MAX_DEPTH:
            raise LimitError(
                f"nested deeper than {MAX_DEPTH} levels", path=cursor.source.path, place=cursor.place()
            )
        container: Any = {} if kind == MAP else []
        if count:
            self.stack.append(_Frame(container, count, key))
        else:
            self.place(key, container)

    def close(self, frame: _Frame) -> None:
        value = frame.container
        if type(value) is dict and CHUNKED in value:
            value = unchunked(value, self.cursor)
        self.place(frame.key, value)

    def place(self, key: Any, value: Any) -> None:
        if not self.stack:
            self.result = value
        elif key is _NO_KEY:
            self.stack[-1].container.append(value)
        else:
            self.stack[-1].container[key] = value
