"""msgpack, as Flax writes it, read as structure: the bytes of arrays stay where they are.

The wire format is msgpack (https://github.com/msgpack/msgpack/blob/master/spec.md). Nothing here recurses. A
declared length is compared with the bytes that are left before anything is made of it.
"""

from __future__ import annotations

from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import LimitError
from ckpt_core.source import Source
from ckpt_core.storage import FileStorage
from ckpt_core.tree import MAX_DEPTH
from ckpt_flax.msgpack.chunks import CHUNKED, unchunked
from ckpt_flax.msgpack.extensions import read_extension
from ckpt_flax.msgpack.heads import START, Heads
from ckpt_flax.msgpack.tokens import ARRAY, BIN, EXT, MAP, STR, VALUE, Cursor

__all__ = ["HEADER_MARK", "parse"]

HEADER_MARK: Final = "ckpt_core:"
"""How the text of the metadata entry begins; JSON follows."""

MAX_NODES: Final = 5_000_000
"""Values, containers included, that a file may hold."""

_GUARD: Final = 1 << 9
"""Bytes that the loop below looks at without asking whether they are there."""

_SHORT: Final = 255
_FEW: Final = 1 << 12
"""Bytes of a key that is remembered, so that all of one text are one object; and how many are."""


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
        self.header: str | None = None
        self.keys: dict[bytes, str] = {}
        self.heads = Heads()

    def run(self) -> tuple[Any, str | None]:  # noqa: C901, PLR0915  # one loop over local variables, like that of pickles
        """Read the tree, container by container.

        Keys and heads of arrays that were met before, and small maps, make up nearly all of a checkpoint. They are
        read here where enough of the block follows; the cursor reads everything else.
        """
        cursor, end = self.cursor, self.cursor.end
        keys, lengths, known = self.keys.get, self.heads.lengths.get, self.heads.known.get
        stack: list[
            tuple[Any, int, Any]
        ] = []  # the containers around: how many entries are to come, under which key
        container: Any = []  # of one value, which is the tree
        remaining, key, budget = 1, None, MAX_NODES
        block, at, safe = cursor.block, cursor.index, 0
        while remaining or stack:
            if remaining == 0:
                value = container
                if type(value) is dict and CHUNKED in value:
                    cursor.index = at
                    value = unchunked(value, cursor)
                container, remaining, key = stack.pop()
            else:
                remaining -= 1
                budget -= 1
                if budget < 0:
                    raise LimitError(f"holds more than {MAX_NODES} values", path=cursor.source.path)
                if at >= safe:
                    cursor.index = at
                    cursor.refill(_GUARD)
                    block, at, safe = cursor.block, 0, len(cursor.block) - _GUARD
                if type(container) is dict:
                    code, text, stop = block[at] if at < safe else 0, None, at
                    if 0xA0 <= code < 0xC0:
                        stop = at + code - 0x9F
                        text = keys(block[at + 1 : stop])
                    elif code == 0xD9:
                        stop = at + 2 + block[at + 1]
                        text = keys(block[at + 2 : stop])
                    if text is not None and text not in container:
                        key, at = text, stop
                    else:
                        cursor.index = at
                        key = self.key(container, len(stack))
                        block, at, safe = cursor.block, cursor.index, len(cursor.block) - _GUARD
                code = block[at] if at < safe else 0
                count = 0
                if 0x80 < code < 0x90:
                    at += 1
                    value, count = {}, code & 15
                elif (head := known(block[at : at + lengths(block[at : at + START], 0)])) and (
                    (start := cursor.base + at + head.length) + head.nbytes <= end
                ):
                    value = LazyArray(head.shape, head.dtype, FileStorage(cursor.source, start, head.nbytes))
                    at += head.length + head.nbytes
                else:
                    cursor.index = at
                    value, count = self.value()
                    block, at, safe = cursor.block, cursor.index, len(cursor.block) - _GUARD
                if count:
                    if len(stack) >= MAX_DEPTH:
                        cursor.index = at
                        raise LimitError(
                            f"nested deeper than {MAX_DEPTH} levels",
                            path=cursor.source.path,
                            place=cursor.place(),
                        )
                    stack.append((container, remaining, key))
                    container, remaining = value, count
                    continue
            if type(container) is dict:
                container[key] = value
            else:
                container.append(value)
        cursor.index = at
        if cursor.position != end:
            raise cursor.damaged(f"{end - cursor.position} bytes follow after the end of the tree")
        return container[0], self.header

    def key(self, container: dict[Any, Any], depth: int) -> Any:
        """Read the key of an entry."""
        cursor = self.cursor
        at = cursor.position
        kind, key = cursor.token()
        if kind == STR:
            length, key = key, cursor.text(key)
            if length <= _SHORT:
                if len(self.keys) == _FEW:
                    self.keys.clear()
                self.keys[key.encode()] = key
        elif kind == BIN:
            key = cursor.take(key)
        elif kind != VALUE:
            raise cursor.damaged("a map has a key that is no plain value", at)
        if key in container and not self._is_header(container, key, depth):
            raise cursor.damaged(f"the key {str(key)[:100]!r} is there twice", at)
        return key

    def _is_header(self, container: dict[Any, Any], key: Any, depth: int) -> bool:
        """A first entry whose key repeats at once and whose text is marked is metadata, not a value."""
        if depth != 1 or len(container) != 1 or self.header is not None:
            return False
        value = container[key]
        if type(value) is not str or not value.startswith(HEADER_MARK):
            return False
        self.header = value[len(HEADER_MARK) :]
        return True

    def value(self) -> tuple[Any, int]:
        """Read one value; of a container the head alone, with the number of its entries."""
        cursor = self.cursor
        at = cursor.position
        kind, value = cursor.token()
        if kind in (MAP, ARRAY):
            if value * (2 if kind == MAP else 1) > cursor.end - cursor.position:
                raise cursor.damaged(f"{value} entries are declared, more than the bytes that follow")
            return {} if kind == MAP else [], value
        if kind == EXT:
            value = read_extension(cursor, value)
            if isinstance(value, LazyArray):
                self.heads.learn(at, value, cursor)
        elif kind == STR:
            value = cursor.text(value)
        elif kind == BIN:
            value = cursor.take(value)
        return value, 0
