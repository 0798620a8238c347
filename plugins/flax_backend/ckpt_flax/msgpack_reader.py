"""msgpack, as Flax writes it, read as structure: the bytes of arrays stay where they are.

The wire format is msgpack (https://github.com/msgpack/msgpack/blob/master/spec.md); `flax/serialization.py` adds

    ext 1   an array: msgpack of (shape, dtype name, C-ordered bytes)
    ext 2   a complex number: msgpack of (real, imaginary)
    ext 3   a numpy scalar, in the form of an array

and writes an array of more than 1 GiB as {"__msgpack_chunked_array__": true, "shape": {"0": n, ...},
"chunks": {"0": flat array, ...}}. Nothing here recurses. A declared length is compared with the bytes that are
left before anything is made of it.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import is_known, itemsize, to_numpy
from ckpt_core.errors import DamagedFileError, LimitError
from ckpt_core.source import Source
from ckpt_core.storage import FileStorage, Storage
from ckpt_core.tree import MAX_DEPTH, Record
from ckpt_flax.msgpack_tokens import ARRAY, BIN, EXT, MAP, STR, VALUE, Cursor

__all__ = ["CHUNKED", "COMPLEX", "HEADER_MARK", "NDARRAY", "SCALAR", "looks_like_flax", "parse"]

NDARRAY: Final = 1
COMPLEX: Final = 2
SCALAR: Final = 3
CHUNKED: Final = "__msgpack_chunked_array__"
HEADER_MARK: Final = "ckpt_core:"
"""How the text of the metadata entry begins; JSON follows."""

MAX_NODES: Final = 5_000_000
"""Values, containers included, that a file may hold."""

_TIMESTAMPS: Final = frozenset({(-1, 4), (-1, 8), (-1, 12)})
"""The one type of extension that the format itself defines, with the lengths that it may have."""

_FOREIGN: Final = re.compile(
    r"object|(?:str|bytes|void|record)[0-9]+|float(?:96|128)|complex(?:192|256)|u?int1|float[468]_e[0-9]m[0-9]\w*"
    r"|(?:datetime|timedelta)64(?:\[[0-9]*[a-zA-Zμ]+\])?"
)
"""The names of dtypes without a neutral name: text, dates, structures, extended precision (`numpy.dtype.name`)."""

_ENOUGH: Final = 200
_ENOUGH_UNNAMED: Final = 100_000
"""Tokens after which sniffing is sure, with a name at the start and without."""

# Sniffing.


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


# Parsing.


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
            value = _extension(cursor, value)
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
            value = _unchunked(value, self.cursor)
        self.place(frame.key, value)

    def place(self, key: Any, value: Any) -> None:
        if not self.stack:
            self.result = value
        elif key is _NO_KEY:
            self.stack[-1].container.append(value)
        else:
            self.stack[-1].container[key] = value


# Extensions.


def _extension(cursor: Cursor, length: int) -> Any:
    code = cursor.ext_code()
    start = cursor.position
    stop = start + length
    if stop > cursor.end:
        raise cursor.cut_off()
    if code in (NDARRAY, SCALAR):
        value = _array(cursor, code)
    elif code == COMPLEX:
        value = _complex(cursor)
    else:
        signed = code - 256 if code > 127 else code
        if signed < 0 and (signed, length) not in _TIMESTAMPS:
            raise cursor.damaged(f"an extension of the reserved type {signed} has {length} bytes", start)
        value = Record("msgpack.ExtType", {"code": signed, "data": cursor.take(length)})
    if cursor.position != stop:
        raise cursor.damaged(
            f"an extension of {length} bytes holds a value of {cursor.position - start}", start
        )
    return value


def _array(cursor: Cursor, code: int) -> Any:
    """Read (shape, dtype name, bytes) and make an array over the bytes."""
    at = cursor.position
    if cursor.token() != (ARRAY, 3):
        raise cursor.damaged("an array is no triple of shape, dtype and bytes", at)
    shape = _shape(cursor)
    kind, length = cursor.token()
    if kind not in (STR, BIN) or length > 1000:
        raise cursor.damaged("an array has no dtype name", at)
    name = cursor.text(length)
    kind, nbytes = cursor.token()
    if kind not in (STR, BIN):
        raise cursor.damaged("an array has no bytes", at)
    start = cursor.position
    cursor.skip(nbytes)
    storage = FileStorage(cursor.source, start, nbytes)
    if not is_known(name):
        if not _FOREIGN.fullmatch(name):
            raise cursor.damaged(f"an array has the unknown dtype {name[:40]!r}", at)
        data = LazyArray((nbytes,), "uint8", storage)
        return Record("numpy.ndarray", {"shape": list(shape), "dtype": name, "data": data})
    if math.prod(shape) * itemsize(name) != nbytes:
        raise cursor.damaged(f"shape {shape[:16]} of {name} does not take {nbytes} bytes", at)
    if code == SCALAR and not shape:
        return np.frombuffer(storage.read(0, nbytes), to_numpy(name))[0]
    return LazyArray(shape, name, storage)


def _shape(cursor: Cursor) -> tuple[int, ...]:
    at = cursor.position
    kind, rank = cursor.token()
    if kind != ARRAY or rank > 64:
        raise cursor.damaged("an array has no shape of at most 64 dimensions", at)
    shape = []
    for _ in range(rank):
        kind, size = cursor.token()
        if kind != VALUE or type(size) is not int or size < 0:
            raise cursor.damaged("an array has an impossible shape", at)
        shape.append(size)
    return tuple(shape)


def _complex(cursor: Cursor) -> complex:
    at = cursor.position
    if cursor.token() == (ARRAY, 2):
        parts = [cursor.token() for _ in range(2)]
        if all(kind == VALUE and type(part) in (int, float) for kind, part in parts):
            return complex(*(part for _, part in parts))
    raise cursor.damaged("a complex number is no pair of numbers", at)


# Arrays in chunks.


class _Joined(Storage):
    """Several storages as one run of bytes."""

    __slots__ = ("parts", "starts")

    def __init__(self, parts: list[Storage]) -> None:
        self.parts = parts
        self.starts = [0]
        for part in parts:
            self.starts.append(self.starts[-1] + part.nbytes)
        self.nbytes = self.starts[-1]

    def verify(self) -> None:
        for part in self.parts:
            part.verify()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        stop = offset + len(buffer)
        for part, start in zip(self.parts, self.starts[:-1], strict=True):
            low, high = max(offset, start), min(stop, start + part.nbytes)
            if low < high:
                part.read_into(low - start, buffer[low - offset : high - offset])


def _unchunked(value: dict[Any, Any], cursor: Cursor) -> LazyArray:
    """Return the array that a dictionary of chunks stands for."""
    shape, chunks = _numbered(value.get("shape")), _numbered(value.get("chunks"))
    if shape is None or not all(type(size) is int and size >= 0 for size in shape):
        raise cursor.damaged("an array in chunks has no shape")
    if not chunks or not all(isinstance(chunk, LazyArray) for chunk in chunks):
        raise cursor.damaged("an array in chunks has no chunks")
    dtype = chunks[0].dtype
    if any(chunk.dtype != dtype or chunk.ndim != 1 for chunk in chunks):
        raise cursor.damaged("an array in chunks has chunks that differ in dtype, or are not flat")
    if sum(chunk.size for chunk in chunks) != math.prod(shape):
        raise cursor.damaged(f"the chunks do not fill the shape {tuple(shape[:16])}")
    storages = [chunk.pieces[0].storage for chunk in chunks]
    return LazyArray(tuple(shape), dtype, storages[0] if len(storages) == 1 else _Joined(storages))


def _numbered(value: Any) -> list[Any] | None:
    """Return the values of {"0": ..., "1": ...}, in order, or None when it is not that."""
    if type(value) is not dict or not all(str(index) in value for index in range(len(value))):
        return None
    return [value[str(index)] for index in range(len(value))]
