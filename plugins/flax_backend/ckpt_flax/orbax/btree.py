"""The manifest and the nodes of an OCDBT database, parsed from their bytes.

The format is that of tensorstore (`tensorstore/kvstore/ocdbt/index.rst`, "Storage format"). Tables are stored by
columns, whose numbers are variable-length integers (seven bits a byte, the lowest first). All that is parsed has
passed its CRC-32C; every length is compared with the bytes that are there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from ckpt_core.errors import DamagedFileError, LimitError, UnsupportedError
from ckpt_flax.orbax.bombs import ZSTD_MAGIC, zstd_bound
from ckpt_flax.orbax.crc32c import crc32c
from ckpt_flax.orbax.zstd import unpack_frame

__all__ = ["MAX_NODE", "Node", "Reference", "read_manifest", "read_node"]

MAX_NODE: Final = 1 << 28
"""Bytes of one node, of what it unpacks to, and of all the keys in it."""

_MANIFEST: Final = 0x0CDB3A2A
_NODE: Final = 0x0CDB20DE
_HEADER: Final = struct.Struct(">I")
_LENGTH: Final = struct.Struct("<Q")
_PLAIN, _ZSTD = 0, 1
_NOWHERE: Final = (1 << 64) - 1


class Reference(NamedTuple):
    """Bytes `offset .. offset + length` of a data file.

    `base` is the part of `file` that the paths in the node found there begin with.
    """

    file: bytes
    base: bytes
    offset: int
    length: int


class Node(NamedTuple):
    """A node of the tree: keys with their values, or what the keys of a subtree begin with and where it is."""

    height: int
    entries: Iterator[tuple[bytes, bytes | Reference]]
    children: list[tuple[bytes, Reference]]


def read_manifest(data: bytes) -> tuple[int, Reference] | None:
    """Return the height and the place of the root of the newest version; None when the database is empty.

    Raises:
        DamagedFileError: it is no manifest, or its checksum is wrong.
        UnsupportedError: the versions are listed in other files.
    """
    columns = _body(data, _MANIFEST)
    columns.take(16)
    kind, *_ = columns.numbers(3)
    columns.take(1)
    if columns.numbers(1)[0] == _ZSTD:
        columns.take(4)
    if kind != 0:
        raise UnsupportedError("lists no version of its tree")
    files = _files(columns, b"")
    count = columns.count()
    columns.numbers(count)
    heights = columns.take(count)
    roots = list(_references(columns, files, count, missing=True))
    if not roots:
        raise UnsupportedError("lists no version of its tree")
    return None if roots[-1].offset == roots[-1].length == _NOWHERE else (heights[-1], roots[-1])


def read_node(data: bytes, base: bytes) -> Node:
    """Parse a node; its entries are made while they are iterated over.

    Arguments:
        data: its bytes.
        base: what the paths of data files in it begin with.

    Raises:
        DamagedFileError: it is no node, or its checksum is wrong.
        LimitError: it would take more than MAX_NODE bytes.
    """
    columns = _body(data, _NODE)
    height = columns.take(1)[0]
    files = _files(columns, base)
    count = columns.count()
    if height == 0:
        return Node(0, _leaves(columns, files, count), [])
    shared = [0, *columns.numbers(count - 1)]
    lengths = columns.numbers(count)
    common = columns.numbers(count)
    keys = _keys(columns, shared, lengths)
    places = _references(columns, files, count)
    children = [(key[:length], place) for key, length, place in zip(keys, common, places, strict=True)]
    return Node(height, iter(()), children)


def _leaves(
    columns: _Columns, files: list[tuple[bytes, bytes]], count: int
) -> Iterator[tuple[bytes, bytes | Reference]]:
    shared = [0, *columns.numbers(count - 1)]
    lengths = columns.numbers(count)
    keys = _keys(columns, shared, lengths)
    sizes = columns.numbers(count)
    kinds = columns.numbers(count)
    elsewhere = sum(kinds)
    if not set(kinds) <= {0, 1}:
        raise DamagedFileError("a value of unknown kind")
    numbers = columns.numbers(elsewhere)
    offsets = iter(columns.numbers(elsewhere))
    places = iter([_file(files, number) for number in numbers])
    data, position = columns.data, columns.position
    if position + sum([size for size, kind in zip(sizes, kinds, strict=True) if not kind]) != columns.end:
        raise DamagedFileError("values of other lengths than declared")
    for key, size, kind in zip(keys, sizes, kinds, strict=True):
        if kind:
            yield key, Reference(*next(places), next(offsets), size)
        else:
            yield key, data[position : position + size]
            position += size


def _keys(columns: _Columns, shared: list[int], lengths: list[int]) -> Iterator[bytes]:
    """Yield keys, each of which begins with so many bytes of the one before it, as an iterator of known cost."""
    if sum(shared) + sum(lengths) > MAX_NODE:
        raise LimitError(f"keys of more than {MAX_NODE} bytes")
    return _joined(columns.take(sum(lengths)), shared, lengths)


def _joined(data: bytes, shared: list[int], lengths: list[int]) -> Iterator[bytes]:
    key, position = b"", 0
    for common, length in zip(shared, lengths, strict=True):
        suffix = data[position : position + length]
        if common > len(key) or (position and key[common:] >= suffix):
            raise DamagedFileError("keys that are not in their order")
        key = key[:common] + suffix
        position += length
        yield key


def _files(columns: _Columns, base: bytes) -> list[tuple[bytes, bytes]]:
    """Return the path of each data file, and the part of it that is handed on."""
    count = columns.count(empty=True)
    shared = [0, *columns.numbers(count - 1)] if count else []
    lengths = columns.numbers(count)
    bases = columns.numbers(count)
    if sum(shared) + sum(lengths) > MAX_NODE:
        raise LimitError(f"paths of more than {MAX_NODE} bytes")
    files, path = [], b""
    for common, length, handed_on in zip(shared, lengths, bases, strict=True):
        if common > len(path) or handed_on > common + length:
            raise DamagedFileError("a path of a data file that is longer than itself")
        path = path[:common] + columns.take(length)
        files.append((base + path, base + path[:handed_on]))
    return files


def _references(
    columns: _Columns, files: list[tuple[bytes, bytes]], count: int, missing: bool = False
) -> Iterator[Reference]:
    places = columns.numbers(count)
    offsets = columns.numbers(count)
    lengths = columns.numbers(count)
    for number, offset, length in zip(places, offsets, lengths, strict=True):
        if missing and offset == length == _NOWHERE:
            yield Reference(b"", b"", offset, length)
        else:
            yield Reference(*_file(files, number), offset, length)


def _file(files: list[tuple[bytes, bytes]], number: int) -> tuple[bytes, bytes]:
    if number >= len(files):
        raise DamagedFileError(f"data file {number} of {len(files)}")
    return files[number]


def _body(data: bytes, magic: int) -> _Columns:
    """Check the frame around a manifest or a node, and return what is in it, unpacked."""
    if len(data) < 18 or _HEADER.unpack_from(data)[0] != magic:
        raise DamagedFileError("does not begin as one")
    length = _LENGTH.unpack_from(data, 4)[0]
    if length != len(data):
        raise DamagedFileError(f"has {len(data)} bytes where {length} are declared")
    body = memoryview(data)[:-4]
    if crc32c(body) != int.from_bytes(data[-4:], "little"):
        raise DamagedFileError("checksum mismatch: its CRC-32C is not the one that it states")
    columns = _Columns(data, 12, len(body))
    version, compression = columns.numbers(2)
    if version != 0 or compression not in (_PLAIN, _ZSTD):
        raise UnsupportedError(f"version {version}, compression {compression}")
    if compression == _ZSTD:
        unpacked = _unpacked(body[columns.position :])
        columns = _Columns(unpacked, 0, len(unpacked))
    return columns


def _unpacked(frame: memoryview) -> bytes:
    if bytes(frame[:4]) != ZSTD_MAGIC:
        raise DamagedFileError("is no zstd frame where one is declared")
    bound = zstd_bound(frame)
    if bound > MAX_NODE:
        raise LimitError(f"unpacks to more than {MAX_NODE} bytes")
    unpacked = unpack_frame(frame, bound)
    if unpacked is None:
        raise DamagedFileError("cannot be unpacked")
    return unpacked


class _Columns:
    """Reads one column after the other, up to `end`."""

    def __init__(self, data: bytes, position: int, end: int) -> None:
        self.data = data
        self.position = position
        self.end = end

    def take(self, length: int) -> bytes:
        """Return the next bytes."""
        end = self.position + length
        if end > self.end:
            raise DamagedFileError(f"ends {end - self.end} bytes too early")
        part = self.data[self.position : end]
        self.position = end
        return part

    def count(self, empty: bool = False) -> int:
        """Return the number of entries that follow, each of which takes a byte at least."""
        count = self.numbers(1)[0]
        if count > self.end - self.position:
            raise DamagedFileError(f"{count} entries in {self.end - self.position} bytes")
        if not (count or empty):
            raise DamagedFileError("has no entries")
        return count

    def numbers(self, count: int) -> list[int]:
        """Return the next `count` numbers."""
        small = self.data[self.position : min(self.position + count, self.end)]
        if len(small) == count and small.isascii():  # each is a byte
            self.position += count
            return list(small)
        window, ends = self._ends(count)
        self.position += int(ends[-1]) + 1
        starts = np.concatenate(([0], ends[:-1] + 1))
        widths = ends - starts + 1
        widest = int(widths.max())
        if widest > 10 or (widest == 10 and window[ends[widths == 10]].max() > 1):
            raise DamagedFileError("a number of more than 64 bits")
        values = np.zeros(count, np.uint64)
        for place in range(widest):
            part = (window[np.minimum(starts + place, ends)] & 127).astype(np.uint64) << np.uint64(7 * place)
            values |= np.where(place < widths, part, np.uint64(0))
        numbers: list[int] = values.tolist()
        return numbers

    def _ends(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the bytes that follow, and where among them the next `count` numbers end."""
        data = memoryview(self.data)[: self.end]
        length = count
        while True:
            window = np.frombuffer(data[self.position : self.position + length], np.uint8)
            ends = np.flatnonzero(window < 128)[:count]
            if len(ends) == count:
                return window, ends
            if len(window) < length or length >= 10 * count:
                raise DamagedFileError("ends within a column of numbers")
            length *= 2
