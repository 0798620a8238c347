"""Blob: a long bytes or text value that stays in the file until somebody wants it.

Protocol 3 and later write array bytes as they are. Protocols 0 to 2 have no bytes type: Python 3 writes them as
text whose characters are the bytes (latin-1), Python 2 as its `str`; both may be escaped into a line of ASCII.
"""

from __future__ import annotations

import codecs
import re
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import DamagedFileError
from ckpt_core.source import Source
from ckpt_core.storage import DecodedStorage, FileStorage, MemoryStorage, Storage
from ckpt_core.tree import Record

__all__ = ["BYTES", "MAX_VALUE", "STRING", "TEXT", "Blob"]

MAX_VALUE: Final = 64 << 20
"""Longer bytes and text values (64 MiB as they lie in the file) become a Record with a uint8 array of them."""

SMALL: Final = 4096
"""Text that short is decoded at once where it holds an array."""

BYTES: Final = "bytes"
TEXT: Final = "str"
STRING: Final = "str of Python 2"


class Blob:
    """`length` bytes of a source from `start` on.

    Arguments:
        encoding: "" for bytes as they are, else "utf-8", "raw-unicode-escape" or "string-escape".
        kind: what the file says it is: BYTES, TEXT, or STRING (text if it decodes, else bytes).
    """

    __slots__ = ("_storage", "_value", "encoding", "kind", "length", "source", "start")

    def __init__(self, source: Source, start: int, length: int, encoding: str, kind: str) -> None:
        self.source = source
        self.start = start
        self.length = length
        self.encoding = encoding
        self.kind = kind
        self._value: Any = None
        self._storage: Storage | None = None

    def as_bytes(self) -> Blob:
        """Return the bytes that this text stands for in protocols 0 to 2, one per character."""
        return Blob(self.source, self.start, self.length, self.encoding, BYTES)

    def read(self) -> bytes:
        """Return the bytes; of text, one per character."""
        data = self.source.read(self.start, self.length)
        try:
            if self.encoding == "":
                return data
            if self.encoding == "string-escape":
                return unescape(data)
            if self.encoding == "utf-8":
                return data.decode("utf-8").encode("latin-1")
            return data.decode("raw-unicode-escape").encode("latin-1")
        except ValueError:
            raise self._damaged() from None

    def storage(self, nbytes: int) -> Storage:
        """Return the bytes as the storage of an array of `nbytes` bytes.

        Raises:
            DamagedFileError: there are more or fewer. Text is only counted when it is decoded; until then the
                longest and shortest encoding bound it.
        """
        if self._storage is None:
            self._storage = self._make_storage(nbytes)
        if self._storage.nbytes != nbytes:
            raise DamagedFileError(
                f"an array of {nbytes} bytes has {self._storage.nbytes}",
                path=self.source.path,
                place=f"byte {self.start}",
            )
        return self._storage

    def _make_storage(self, nbytes: int) -> Storage:
        if self.encoding == "":
            return FileStorage(self.source, self.start, self.length)
        if self.length <= SMALL:
            return MemoryStorage(self.read())
        longest = {"utf-8": 2, "raw-unicode-escape": 10, "string-escape": 4}[self.encoding]
        if not nbytes <= self.length <= longest * nbytes:
            raise DamagedFileError(
                f"an array of {nbytes} bytes is written as {self.length} bytes of text",
                path=self.source.path,
                place=f"byte {self.start}",
            )
        return DecodedStorage(nbytes, self.read)

    def value(self) -> Any:
        """Return the value as a leaf of a tree: bytes, str, or a Record with the array of a very long one."""
        if self._value is None:
            self._value = self._make_value()
        return self._value

    def _make_value(self) -> Any:
        if self.length > MAX_VALUE:
            raw = LazyArray((self.length,), "uint8", FileStorage(self.source, self.start, self.length))
            return Record(f"builtins.{self.kind.split()[0]}", {"encoding": self.encoding, "data": raw})
        if self.kind == BYTES:
            return self.read()
        if self.kind == STRING:
            return text_or_bytes(self.read())
        data = self.source.read(self.start, self.length)
        try:
            return (
                data.decode("utf-8", "surrogatepass")
                if self.encoding == "utf-8"
                else data.decode(self.encoding)
            )
        except ValueError:
            raise self._damaged() from None

    def _damaged(self) -> DamagedFileError:
        return DamagedFileError(
            f"text is not {self.encoding or 'text'}", path=self.source.path, place=f"byte {self.start}"
        )


def text_or_bytes(data: bytes) -> str | bytes:
    """Return a Python 2 string as text where it is UTF-8, else as bytes."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data


_ESCAPE: Final = re.compile(rb"\\(?:[\\'\"abfnrtv\n]|x[0-9a-fA-F]{2}|[0-3]?[0-7]{1,2})")


def unescape(data: bytes) -> bytes:
    """Decode the escapes of a Python 2 string literal; raises ValueError for one that is none."""
    if b"\\" in _ESCAPE.sub(b"", data):
        raise ValueError("not an escape")
    return codecs.escape_decode(data)[0]
