"""Writing a tree as Flax's msgpack: byte for byte what `flax.serialization.msgpack_serialize` gives for it.

The bytes of arrays go straight from where they are into the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import itemsize, name_of
from ckpt_core.errors import UnsupportedError
from ckpt_core.storage import MemoryStorage
from ckpt_core.tree import KeyPath, children, render_path
from ckpt_core.writer import FileWriter
from ckpt_flax.msgpack.chunks import CHUNKED
from ckpt_flax.msgpack.extensions import COMPLEX, NDARRAY, SCALAR

__all__ = ["MAX_CHUNK", "write"]

MAX_CHUNK: Final = 1 << 30
"""Bytes beyond which Flax splits an array, since msgpack objects end at 4 GiB."""

_FLUSH: Final = 1 << 18
_DOUBLE: Final = struct.Struct(">d")


def write(file: FileWriter, tree: Any, header: str | None = None) -> None:
    """Write a tree of dicts, lists, arrays and plain values.

    Arguments:
        file: where it goes.
        tree: the tree; dictionaries keep their order.
        header: a text that becomes an extra first entry of the top-level map, under the first key of the map.
            Every msgpack reader lets the later, real entry of that key win.

    Raises:
        UnsupportedError: the tree holds something that msgpack does not.
    """
    _Writer(file).run(tree, header)


class _Writer:
    def __init__(self, file: FileWriter) -> None:
        self.file = file
        self.pending = bytearray()

    def run(self, tree: Any, header: str | None) -> None:
        # Each entry: the path, the encoded key that goes before the node, and the node.
        stack: list[tuple[KeyPath, bytes, Any]] = [((), b"", tree)]
        while stack:
            path, key, node = stack.pop()
            self.pending += key
            try:
                pairs = self.node(node, 0 if path or header is None else 1)
                if header is not None and not path:
                    self.pending += plain(next(iter(tree))) + plain(header)
                if pairs:
                    is_map = isinstance(node, dict)
                    stack += [
                        ((*path, k), plain(k) if is_map else b"", child) for k, child in reversed(pairs)
                    ]
            except UnsupportedError as error:
                error.place = render_path(path) or None
                raise
            if len(self.pending) >= _FLUSH:
                self.flush()
        self.flush()

    def flush(self) -> None:
        self.file.write(self.pending)
        self.pending.clear()

    def node(self, node: Any, extra: int) -> list[tuple[Any, Any]] | None:
        """Write a leaf, or the head of a container, whose children are returned."""
        if isinstance(node, LazyArray):
            if node.nbytes > MAX_CHUNK:
                self.chunked(node)
            else:
                self.array(node)
            return None
        pairs = children(node)
        if pairs is None:
            self.pending += plain(node)
        elif isinstance(node, dict):
            if CHUNKED in node:
                raise UnsupportedError(
                    f"the key {CHUNKED} means something else in this format",
                    remedy="Leave it out (--select), or write another format.",
                )
            self.pending += _head(len(pairs) + extra, 0x80, 16, (0xDE, 0xDF))
        else:
            self.pending += _head(len(pairs), 0x90, 16, (0xDC, 0xDD))
        return pairs

    # Arrays.

    def array(self, array: LazyArray) -> None:
        self.array_head(array.shape, array.dtype, array.nbytes)
        self.flush()
        self.file.write_array(array)

    def array_head(self, shape: tuple[int, ...], dtype: str, nbytes: int) -> None:
        inner = _array_head(shape, dtype, nbytes)
        self.pending += _ext_head(NDARRAY, len(inner) + nbytes) + inner

    def chunked(self, array: LazyArray) -> None:
        """Write an array as a map of flat chunks, as Flax does."""
        width = itemsize(array.dtype)
        step = max(1, MAX_CHUNK // width)
        sizes = [min(step, array.size - start) for start in range(0, array.size, step)]
        self.pending += b"\x83" + plain(CHUNKED) + b"\xc3" + plain("shape")
        self.pending += _head(array.ndim, 0x80, 16, (0xDE, 0xDF))
        for axis, size in enumerate(array.shape):
            self.pending += plain(str(axis)) + plain(size)
        self.pending += plain("chunks") + _head(len(sizes), 0x80, 16, (0xDE, 0xDF))
        for index, (size, parts) in enumerate(zip(sizes, _cut(array, sizes), strict=True)):
            self.pending += plain(str(index))
            self.array_head((size,), array.dtype, size * width)
            self.flush()
            for part in parts:
                self.file.write_array(part)


def _cut(array: LazyArray, sizes: list[int]) -> Iterator[Iterator[LazyArray]]:
    """Yield, for each chunk of `sizes` elements, the flat arrays whose bytes make it up, in order."""
    storage, offset, strides, _ = array.pieces[0]
    if len(array.pieces) == 1 and strides is None:
        for size in sizes:
            yield iter([LazyArray((size,), array.dtype, storage, offset)])
            offset += size * itemsize(array.dtype)
        return
    array.verify()
    tiles = array.tiles()
    tile = memoryview(b"")

    def take(nbytes: int) -> Iterator[LazyArray]:
        nonlocal tile
        while nbytes:
            tile = tile or next(tiles)
            part, tile = tile[:nbytes], tile[nbytes:]
            nbytes -= len(part)
            yield LazyArray((len(part),), "uint8", MemoryStorage(part))

    for size in sizes:
        yield take(size * itemsize(array.dtype))


def _array_head(shape: tuple[int, ...], dtype: str, nbytes: int) -> bytes:
    """Return what stands before the bytes of an array: shape, dtype name, length."""
    sizes = b"".join(map(plain, shape))
    return b"\x93" + _head(len(shape), 0x90, 16, (0xDC, 0xDD)) + sizes + plain(dtype) + _bin_head(nbytes)


# Values.


def plain(value: Any) -> bytes:
    """Return the msgpack form of a leaf that is not an array, or of a key.

    Raises:
        UnsupportedError: msgpack has none for it.
    """
    encoder = _ENCODERS.get(type(value))
    if encoder is not None:
        return encoder(value)
    if isinstance(value, int) and not isinstance(value, bool):  # the position of a list that became a dict
        return _int(int(value))
    if isinstance(value, np.generic):
        return _scalar(value)
    raise UnsupportedError(f"msgpack has no form for a {type(value).__name__}")


def _int(value: int) -> bytes:
    if -32 <= value < 128:
        return (value & 0xFF).to_bytes(1, "big")
    codes, signed = ((0xCC, 0xCD, 0xCE, 0xCF), False) if value >= 0 else ((0xD0, 0xD1, 0xD2, 0xD3), True)
    for code, width in zip(codes, (1, 2, 4, 8), strict=True):
        try:
            return bytes((code,)) + value.to_bytes(width, "big", signed=signed)
        except OverflowError:
            continue
    raise UnsupportedError("an integer needs more than 64 bits")


def _str(value: str) -> bytes:
    try:
        data = value.encode()
    except UnicodeEncodeError:
        raise UnsupportedError("a text has no UTF-8 form") from None
    if 32 <= len(data) < 256:
        return bytes((0xD9, len(data))) + data
    return _head(len(data), 0xA0, 32, (0xDA, 0xDB)) + data


def _complex(value: complex) -> bytes:
    inner = b"\x92\xcb" + _DOUBLE.pack(value.real) + b"\xcb" + _DOUBLE.pack(value.imag)
    return _ext_head(COMPLEX, len(inner)) + inner


def _scalar(value: np.generic) -> bytes:
    dtype = name_of(value.dtype)
    if dtype is None:
        raise UnsupportedError(f"a numpy {value.dtype} scalar is not a number")
    data = value.tobytes()
    inner = _array_head((), dtype, len(data)) + data
    return _ext_head(SCALAR, len(inner)) + inner


_ENCODERS: Final[dict[type, Callable[[Any], bytes]]] = {
    type(None): lambda _: b"\xc0",
    bool: lambda value: b"\xc3" if value else b"\xc2",
    int: _int,
    float: lambda value: b"\xcb" + _DOUBLE.pack(value),
    complex: _complex,
    str: _str,
    bytes: lambda value: _bin_head(len(value)) + value,
}


# Heads.


def _head(length: int, base: int, limit: int, codes: tuple[int, int]) -> bytes:
    """Return the head of a container or text: within one byte below `limit`, else code and length."""
    if length < limit:
        return bytes((base | length,))
    if length < 1 << 16:
        return bytes((codes[0],)) + length.to_bytes(2, "big")
    return bytes((codes[1],)) + _length(length)


def _bin_head(length: int) -> bytes:
    if length < 1 << 8:
        return bytes((0xC4, length))
    if length < 1 << 16:
        return b"\xc5" + length.to_bytes(2, "big")
    return b"\xc6" + _length(length)


def _ext_head(code: int, length: int) -> bytes:
    if length in (1, 2, 4, 8, 16):
        return bytes((0xD4 + length.bit_length() - 1, code))
    if length < 1 << 8:
        return bytes((0xC7, length, code))
    if length < 1 << 16:
        return b"\xc8" + length.to_bytes(2, "big") + bytes((code,))
    return b"\xc9" + _length(length) + bytes((code,))


def _length(length: int) -> bytes:
    if length >= 1 << 32:
        raise UnsupportedError(f"a value of {length} bytes or entries is beyond what msgpack can state")
    return length.to_bytes(4, "big")
