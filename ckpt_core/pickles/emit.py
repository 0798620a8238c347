"""Pickles written opcode by opcode: plain data and the few calls that a caller spells out, nothing else.

The pickle module would ask every object how it wants to be saved, and would copy array bytes through memory. Here
the caller decides what an array becomes, and may put its bytes into the file itself (see `bytes_header`).
Opcodes: CPython's `Lib/pickletools.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UnsupportedError, UsageError
from ckpt_core.tree import Alias, Record, get, render_path

__all__ = ["Emitter", "emit_tree"]

_FLUSH: Final = 1 << 18
_SHORT_TEXT: Final = 256

MemoKey = str | int | tuple[str, str]


class Emitter:
    """Writes pickle opcodes.

    Arguments:
        write: takes the bytes, in order; it is called with large parts, and by `flush`.
        protocol: 2 (what torch's loaders take), or 4.

    Example:
        >>> parts = []
        >>> emitter = Emitter(parts.append, protocol=2)
        >>> emitter.start()
        >>> emit_tree({"step": 3}, emitter)
        >>> emitter.stop()
        >>> import pickle
        >>> pickle.loads(b"".join(parts))
        {'step': 3}
    """

    def __init__(self, write: Callable[[bytes], object], protocol: int = 4) -> None:
        if protocol not in (2, 4):
            raise UsageError(f"pickle protocol {protocol} is not written, only 2 and 4 are")
        self.protocol = protocol
        self._write = write
        self._buffer = bytearray()
        self._memo: dict[MemoKey, int] = {}

    # Framing.

    def start(self) -> None:
        """Write the protocol marker."""
        self.op(b"\x80" + bytes([self.protocol]))

    def stop(self) -> None:
        """Write the final opcode and hand on what is buffered."""
        self.op(b".")
        self.flush()

    def op(self, data: bytes) -> None:
        """Write opcodes as they are."""
        self._buffer += data
        if len(self._buffer) >= _FLUSH:
            self.flush()

    def flush(self) -> None:
        """Hand on what is buffered, so that the caller can write to the same file."""
        if self._buffer:
            self._write(bytes(self._buffer))
            self._buffer.clear()

    # The memo.

    def memoize(self, key: MemoKey) -> None:
        """Remember what was just written under `key`: a text itself, the `id` of an object, or a global's names."""
        index = len(self._memo)
        self._memo[key] = index
        if self.protocol >= 4:
            self.op(b"\x94")
        elif index < 256:
            self.op(b"q" + bytes([index]))
        else:
            self.op(b"r" + struct.pack("<I", index))

    def recall(self, key: MemoKey) -> bool:
        """Write a reference to what was remembered under `key`; False, and nothing written, if nothing was."""
        index = self._memo.get(key)
        if index is None:
            return False
        self.op(b"h" + bytes([index]) if index < 256 else b"j" + struct.pack("<I", index))
        return True

    # Values.

    def none(self) -> None:
        self.op(b"N")

    def bool_(self, value: bool) -> None:
        self.op(b"\x88" if value else b"\x89")

    def int_(self, value: int) -> None:
        """Write an integer of any size."""
        if 0 <= value < 256:
            self.op(b"K" + bytes([value]))
        elif 0 <= value < 65536:
            self.op(b"M" + struct.pack("<H", value))
        elif -(1 << 31) <= value < 1 << 31:
            self.op(b"J" + struct.pack("<i", value))
        else:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            self.op(
                b"\x8a" + bytes([len(data)]) if len(data) < 256 else b"\x8b" + struct.pack("<i", len(data))
            )
            self.op(data)

    def float_(self, value: float) -> None:
        self.op(b"G" + struct.pack(">d", value))

    def complex_(self, value: complex) -> None:
        self.global_("builtins", "complex")
        self.float_(value.real)
        self.float_(value.imag)
        self.op(b"\x86R")

    def text(self, value: str) -> None:
        """Write a text; short ones are written once and referred to afterwards."""
        short = len(value) <= _SHORT_TEXT
        if short and self.recall(value):
            return
        data = value.encode("utf-8", "surrogatepass")
        if self.protocol >= 4 and len(data) < 256:
            self.op(b"\x8c" + bytes([len(data)]))
        elif len(data) < 1 << 32:
            self.op(b"X" + struct.pack("<I", len(data)))
        elif self.protocol >= 4:
            self.op(b"\x8d" + struct.pack("<Q", len(data)))
        else:
            raise UnsupportedError(f"a text of {len(data)} bytes is too long for pickle protocol 2")
        self.op(data)
        if short:
            self.memoize(value)

    def bytes_(self, value: bytes) -> None:
        if self.protocol >= 4:
            self.bytes_header(len(value))
            self.op(value)
            return
        # Protocol 2 has no opcode for bytes; this is how CPython spells them there (pickle.py, save_bytes).
        self.global_("_codecs", "encode")
        self.text(value.decode("latin1"))
        self.text("latin1")
        self.op(b"\x86R")

    def bytes_header(self, length: int) -> None:
        """Begin a bytes object (protocol 4) whose `length` bytes the caller writes next, after `flush`."""
        if self.protocol < 4:
            raise UsageError("pickle protocol 2 has no opcode for bytes")
        self.op(b"C" + bytes([length]) if length < 256 else b"\x8e" + struct.pack("<Q", length))

    def global_(self, module: str, name: str) -> None:
        """Write the name of a class or function."""
        if self.recall((module, name)):
            return
        if self.protocol >= 4:
            self.text(module)
            self.text(name)
            self.op(b"\x93")
        else:
            self.op(f"c{module}\n{name}\n".encode())
        self.memoize((module, name))

    # Combinations of what lies on the stack.

    def mark(self) -> None:
        self.op(b"(")

    def tuple_(self, count: int | None = None) -> None:
        """Close a tuple: of the last `count` values (3 at most), or of everything since the mark."""
        self.op(b"t" if count is None else (b")", b"\x85", b"\x86", b"\x87")[count])

    def ints(self, values: Iterable[int]) -> None:
        """Write a tuple of integers."""
        values = tuple(values)
        if len(values) > 3:
            self.mark()
        for value in values:
            self.int_(value)
        self.tuple_(len(values) if len(values) <= 3 else None)

    def reduce(self) -> None:
        """Call: the callable and the tuple of its arguments lie on the stack."""
        self.op(b"R")

    def build(self) -> None:
        """Restore a state: the object and its state lie on the stack."""
        self.op(b"b")

    def persistent(self) -> None:
        """Turn the value on the stack into a persistent id."""
        self.op(b"Q")

    def plain(self, value: object) -> bool:
        """Write a value that is neither container nor array; False, and nothing written, for anything else."""
        kind = type(value)
        write = _PLAIN.get(kind)
        if write is not None:
            write(self, value)
            return True
        return False


def _none(emitter: Emitter, _: None) -> None:
    emitter.none()


_PLAIN: Final[dict[type, Callable[[Emitter, Any], None]]] = {
    type(None): _none,
    bool: Emitter.bool_,
    int: Emitter.int_,
    float: Emitter.float_,
    complex: Emitter.complex_,
    str: Emitter.text,
    bytes: Emitter.bytes_,
}

Callback = Callable[[Any, Emitter], None]


def _refuse(value: object, _: Emitter) -> None:
    raise UnsupportedError(f"{type(value).__name__} values are not written into a pickle")


class _Open(NamedTuple):
    """A container being written: what is still to come, how it closes, and what to remember it as then."""

    children: Iterator[Any]
    closing: bytes
    memo: int | None = None


def emit_tree(tree: Any, emitter: Emitter, array: Callback = _refuse, other: Callback = _refuse) -> None:
    """Write a tree: dicts, lists, tuples, OrderedDicts and plain values; shared containers stay shared.

    Arguments:
        tree: a tree as core fitted it to the format.
        array: called with each LazyArray and the emitter; it leaves one value on the pickle's stack.
        other: called with each leaf of another kind (numpy scalars), in the same way.

    Raises:
        UnsupportedError: a leaf or Record that neither callback takes, or a tuple that contains itself.
    """
    open_tuples: set[int] = set()
    stack = [_Open(iter((tree,)), b"")]
    while stack:
        children, closing, memo = stack[-1]
        for child in children:
            if emitter.plain(child):
                continue
            node = _resolve(tree, child) if isinstance(child, Alias) else child
            if isinstance(node, (dict, list, tuple)):
                if not emitter.recall(id(node)):
                    stack.extend(_begin(node, emitter, open_tuples))
                    break
            elif isinstance(node, LazyArray):
                array(node, emitter)
            else:
                other(node, emitter)
        else:
            stack.pop()
            emitter.op(closing)
            if memo is not None:
                emitter.memoize(memo)
                open_tuples.discard(memo)


def _begin(node: Any, emitter: Emitter, open_tuples: set[int]) -> list[_Open]:
    """Write the opening of a container; returns what closes it, the part to be written first last."""
    if isinstance(node, tuple):
        if id(node) in open_tuples:
            raise UnsupportedError("a tuple that contains itself is not written into a pickle")
        if not node:
            emitter.tuple_(0)
            return []
        open_tuples.add(id(node))
        short = len(node) <= 3
        if not short:
            emitter.mark()
        return [_Open(iter(node), (b"", b"\x85", b"\x86", b"\x87")[len(node)] if short else b"t", id(node))]
    state = None
    if isinstance(node, Record):
        if node.type_name != "collections.OrderedDict" or node.args or node.appended is not None:
            raise UnsupportedError(f"a record of {node.type_name} is not written into a pickle")
        state = node.state
        emitter.global_("collections", "OrderedDict")
        emitter.op(b")R")
    else:
        emitter.op(b"]" if isinstance(node, list) else b"}")
    emitter.memoize(id(node))
    parts = []
    if state is not None:
        parts.append(_Open(iter((state,)), b"b"))
    if node:
        emitter.mark()
        if isinstance(node, list):
            parts.append(_Open(iter(node), b"e"))
        else:
            parts.append(_Open((part for pair in node.items() for part in pair), b"u"))
    return parts


def _resolve(tree: Any, alias: Alias) -> Any:
    node: Any = alias
    for _ in range(100):
        if not isinstance(node, Alias):
            return node
        try:
            node = get(tree, node.path)
        except KeyError:
            break
    raise UnsupportedError("an alias leads nowhere", place=render_path(alias.path))
