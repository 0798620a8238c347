"""Torch's older single-file format (before 1.6): pickles one after another, then the storages' bytes.

    magic number, protocol version, system info, the object, the keys of the storages; then for each key the
    number of elements (int64, little-endian) and the bytes (little-endian on every machine).

Format: `torch/serialization.py` (`_legacy_save`, `_legacy_load`), `torch/csrc/serialization.cpp` for the storages.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

from ckpt_core.backend import Stored
from ckpt_core.errors import DamagedFileError
from ckpt_core.pickles import PLAIN, unpickle
from ckpt_core.source import Source, ahead
from ckpt_core.storage import FileStorage
from ckpt_torch.constructors import tensor_constructors
from ckpt_torch.phrase import TensorPhrase
from ckpt_torch.tensors import OpenBytes, Tensors, text_of

__all__ = ["LaterStorage", "open_legacy", "sniff_legacy"]

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_MAGIC_BINARY: Final = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_MAGIC_TEXT: Final = b"L%dL\n." % _MAGIC
_PROTOCOL: Final = 1001
_COUNT: Final = struct.Struct("<q")


def sniff_legacy(source: Source) -> bool:
    """Say whether the file begins with the pickled magic number, in any pickle protocol."""
    head = source.head[:64]
    start = 11 if head[2:3] == b"\x95" else 2  # after PROTO, and FRAME from protocol 4 on
    return head.startswith(_MAGIC_TEXT) or (head[:1] == b"\x80" and head.startswith(_MAGIC_BINARY, start))


class LaterStorage(FileStorage):
    """A storage whose length is stated before its place in the file is known."""

    __slots__ = ()

    def __init__(self, source: Source, nbytes: int) -> None:
        if not 0 <= nbytes <= source.size:
            raise DamagedFileError(
                f"a storage of {nbytes} bytes is declared in a file of {source.size}",
                path=source.path,
            )
        self.source = source
        self.nbytes = nbytes
        self.crc32 = None
        self.start = -1

    def place(self, start: int) -> None:
        """State where the bytes are."""
        if start + self.nbytes > self.source.size:
            raise DamagedFileError(
                f"ends at byte {self.source.size}, within a storage of {self.nbytes} bytes at {start}",
                path=self.source.path,
            )
        self.start = start


def open_legacy(source: Source, open_bytes: OpenBytes | None = None) -> Stored:
    """Read the structure of a file in the older format; `open_bytes` opens torch files inside of its pickle.

    Raises:
        DamagedFileError: it contradicts itself.
    """
    at = 0
    for name, expected in (("magic number", _MAGIC), ("protocol version", _PROTOCOL), ("system info", None)):
        value, at = _next(source, at)
        if expected is not None and value != expected:
            raise DamagedFileError(f"the {name} is not {expected}", path=source.path)
    tensors = Tensors(open_bytes=open_bytes)
    storages = _Storages(source, tensors)
    result = unpickle(
        source,
        {**PLAIN, **tensor_constructors(tensors)},
        start=at,
        persistent_load=storages.load,
        phrase=TensorPhrase(tensors, storages.load),
    )
    keys, at = _next(source, result.end)
    storages.place(keys, at)
    return Stored(result.value)


def _next(source: Source, at: int) -> tuple[Any, int]:
    result = unpickle(source, {}, start=at)
    return result.value, result.end


class _Storages:
    """The storages of a file by key, and views of them."""

    def __init__(self, source: Source, tensors: Tensors) -> None:
        self._source = source
        self._tensors = tensors
        self._raw: dict[Any, tuple[LaterStorage, int]] = {}

    def load(self, pid: Any) -> Any:
        """Return what a persistent id means: a storage, a view of one, or a class with its source text."""
        if type(pid) is not tuple or len(pid) < 2 or text_of(pid[0]) not in ("storage", "module"):
            raise DamagedFileError("a persistent id is neither that of a storage nor of a module")
        if text_of(pid[0]) == "module":
            return pid[1]
        if len(pid) not in (5, 6):
            raise DamagedFileError(f"a storage is described by {len(pid)} values, 5 or 6 are expected")
        _, name, key, _, numel, *view = pid
        kind = self._tensors.kind(name)
        if type(key) not in (str, bytes, int) or type(numel) is not int:
            raise DamagedFileError("a storage is stated without a key or its number of elements")
        offset = 0
        width = kind.width
        raw, count = self._raw.get(key) or self._raw.setdefault(
            key, (LaterStorage(self._source, numel * width), numel)
        )
        if numel != count or raw.nbytes != numel * width:
            raise DamagedFileError(f"storage {key!r} is declared with two lengths")
        if view and view[0] is not None:
            if (
                type(view[0]) is not tuple
                or len(view[0]) != 3
                or not all(type(x) is int for x in view[0][1:])
            ):
                raise DamagedFileError("a view of a storage is no (key, offset, size)")
            _, offset, numel = view[0]
        return self._tensors.storage(kind, raw, numel, offset * width)

    def place(self, keys: Any, at: int) -> None:
        """Walk over the bytes of all storages, in the order of `keys`."""
        if type(keys) is not list or not all([type(key) in (str, bytes, int) for key in keys]):
            raise DamagedFileError("the list of storages is damaged", path=self._source.path)
        with self._source.reading() as read:
            self._place(keys, at, ahead(read, self._source.size))

    def _place(self, keys: list[Any], at: int, read: Callable[[int, int], bytes]) -> None:
        missing = dict(self._raw)
        for key in keys:
            raw, count = missing.pop(key, (None, 0))
            if raw is None:
                raise DamagedFileError(
                    f"storage {str(key)[:100]!r} is listed twice or unknown", path=self._source.path
                )
            (numel,) = _COUNT.unpack(read(at, _COUNT.size))
            if numel != count:
                raise DamagedFileError(
                    f"storage {str(key)[:100]!r} has {numel} elements, and {count} are declared",
                    path=self._source.path,
                    place=f"byte {at}",
                )
            raw.place(at + _COUNT.size)
            at += _COUNT.size + raw.nbytes
        if missing:
            raise DamagedFileError(
                f"{len(missing)} storages have no bytes, the first is {str(next(iter(missing)))[:100]!r}",
                path=self._source.path,
            )
