"""Pickle read as data: a virtual machine that never imports and never calls.

It interprets the opcodes of protocols 0 to 5 (CPython's `Lib/pickletools.py` defines them). What becomes of names
and of calls on them stands in `calls.py`. Long bytes and text stay in the file as Blobs, so that opening reads the
structure only. Nothing here recurses, and the work is linear in the length of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, Final, NamedTuple, NoReturn

from ckpt_core.errors import CheckpointError, DamagedFileError, LimitError
from ckpt_core.pickles.blob import BYTES, TEXT, Blob
from ckpt_core.pickles.calls import Calls
from ckpt_core.pickles.constructors import Constructor, Redirect
from ckpt_core.pickles.keys import Keys
from ckpt_core.pickles.literals import LAZY
from ckpt_core.pickles.opcodes import OPCODES
from ckpt_core.pickles.settle import settle
from ckpt_core.source import Source
from ckpt_core.tree import Global, Record

__all__ = ["LAZY", "LAZY_TEXT", "MAX_MARKS", "Machine", "Unpickled", "unpickle"]

LAZY_TEXT: Final = 1024
"""Text from this length on stays in the file, as bytes do from LAZY on."""

MAX_MARKS: Final = 1 << 20
"""Containers that may be open at a time."""

_GUARD: Final = 512  # more than any opcode below reads without looking how much is left
_SMALL_CHUNK: Final = 1 << 12
_LARGE_CHUNK: Final = 1 << 17

_u64 = struct.Struct("<Q").unpack_from
_u32 = struct.Struct("<I").unpack_from
_i32 = struct.Struct("<i").unpack_from
_u16 = struct.Struct("<H").unpack_from


Phrase = Callable[[bytes, int, list[Any], list[Any]], int]
"""Takes the bytes, a position in them after two MARKs, the stack and the memo. Returns the position after the call
that begins there, having done what its opcodes do; 0 where it does not know it, having done nothing."""


class Unpickled(NamedTuple):
    """A value, and the offset in the source after its STOP opcode."""

    value: Any
    end: int


def unpickle(
    source: Source,
    constructors: Mapping[str, Constructor],
    *,
    start: int = 0,
    end: int | None = None,
    persistent_load: Callable[[Any], Any] | None = None,
    phrase: Phrase | None = None,
) -> Unpickled:
    """Read one pickle as data.

    Arguments:
        source: the file.
        constructors: the closed table of names whose calls are interpreted.
        start: where the pickle begins, in bytes.
        end: where the bytes that it may use end; None for the end of the source.
        persistent_load: turns a persistent id (of torch: a description of a storage) into a value.
        phrase: reads a call at once that a pickle makes over and over.

    Returns:
        The tree, in which a container met again is an Alias, and the offset after the pickle.

    Raises:
        DamagedFileError: the bytes are no pickle, contradict themselves, or go beyond the documented caps.
    """
    machine = Machine(
        source, constructors, start, source.size if end is None else end, persistent_load, phrase
    )
    try:
        value = machine.run()
        return Unpickled(settle(value, machine.replaced), machine.position)
    except CheckpointError as error:
        raise error.located(source.path, f"byte {machine.position}") from None
    except IndexError:
        reason = "the pickle takes more from its stack than is there"
    except KeyError:
        reason = "the pickle refers to an object that it did not store"
    except (UnicodeError, ValueError, TypeError, OverflowError, AttributeError, RecursionError) as error:
        reason = f"the pickle contradicts itself ({type(error).__name__}: {str(error)[:200]})"
    raise DamagedFileError(reason, path=source.path, place=f"byte {machine.position}")


class Machine:
    """The state of one interpretation: a stack per open MARK, the memo, and a window of the file."""

    def __init__(
        self,
        source: Source,
        constructors: Mapping[str, Constructor],
        start: int,
        end: int,
        persistent_load: Callable[[Any], Any] | None = None,
        phrase: Phrase | None = None,
    ) -> None:
        self.source = source
        self.persistent_load = persistent_load or (lambda pid: Record("pickle.persistent_id", args=(pid,)))
        self.phrase = phrase
        self.end = min(end, source.size)
        self.base = start
        self.buffer = b""
        self.pos = 0
        self.safe = 0
        self._chunk = _SMALL_CHUNK
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.framed = 0  # where the last frame ends
        self.memo: list[Any] = []
        self.beyond: dict[int, Any] = {}  # what is numbered out of order
        self.replaced: dict[int, tuple[Any, Record]] = {}
        self.calls = Calls(constructors, max(self.end - start, 0))
        self.keys = Keys(self.calls.work)

    @property
    def position(self) -> int:
        """The offset in the source of the next byte to read."""
        return self.base + self.pos

    def fail(self, reason: str) -> NoReturn:
        """Raise DamagedFileError at this place."""
        raise DamagedFileError(reason, path=self.source.path, place=f"byte {self.position}")

    # The window of the file.

    def refill(self, pos: int) -> bytes:
        """Move the window so that it starts at `pos`, with at least _GUARD bytes or padding after it."""
        self._chunk = _SMALL_CHUNK if pos > len(self.buffer) else min(2 * self._chunk, _LARGE_CHUNK)
        self.base += pos
        self.pos = 0
        left = self.end - self.base
        if left <= 0:
            self.fail("the pickle ends before its STOP opcode: the file is truncated or damaged")
        data = self.source.read(self.base, min(left, self._chunk))
        if left <= self._chunk:
            self.safe = left
            data += bytes(_GUARD)  # an opcode cut off by the end reads zeros, and the next one is not there
        else:
            self.safe = len(data) - _GUARD
        self.buffer = data
        return data

    def take(self, length: int) -> bytes:
        """Return the next bytes, however many there are."""
        self.need(length)
        data = self.buffer[self.pos : self.pos + length]
        if len(data) < length:
            data = self.source.read(self.position, length)
        self.pos += length
        return data

    def need(self, length: int) -> None:
        """Fail unless the file has `length` more bytes."""
        if length < 0 or length > self.end - self.position:
            self.fail(f"{length} bytes are declared where {max(self.end - self.position, 0)} are left")

    def blob(self, length: int, encoding: str, kind: str) -> Blob:
        """Leave the next bytes in the file and step over them."""
        self.need(length)
        blob = Blob(self.source, self.position, length, encoding, kind)
        self.pos += length
        return blob

    def text(self, length: int) -> str | Blob:
        """Return the next bytes as text, which stays in the file if it is long."""
        if length >= LAZY_TEXT:
            return self.blob(length, "utf-8", TEXT)
        return self.take(length).decode("utf-8", "surrogatepass")

    # The memo: a list, since picklers number what they store one after another. What a file numbers in any other
    # way is kept beside it.

    def store(self, index: int, value: Any) -> None:
        """Keep a value under a number; negative ones never get here."""
        if index == len(self.memo):
            self.memo.append(value)
        elif index < len(self.memo):
            self.memo[index] = value
        else:
            self.beyond[index] = value

    def stored(self, index: int) -> Any:
        """Return what is kept under a number; raises KeyError where nothing is."""
        return self.memo[index] if 0 <= index < len(self.memo) else self.beyond[index]

    def memoize(self, value: Any) -> None:
        """Keep a value under the count of what is kept already."""
        count = len(self.memo)
        if self.beyond:
            self.calls.work -= len(self.beyond)
            if self.calls.work < 0:
                raise LimitError("the pickle numbers its objects out of order, over and over")
            count += sum(index >= count for index in self.beyond)
        self.store(count, value)

    def check_end(self) -> None:
        """Fail unless one value is left, but for calls that were made for their effect alone."""
        stack = self.stack
        left = [*chain.from_iterable(self.outer), *stack[:-1]]
        if not stack or len(left) < len(self.outer) or not all(map(_is_bare_call, left)):
            self.fail("the pickle stops with more or less than one value")
        if self.position < self.framed:
            self.fail("the pickle stops before its last frame ends")

    # The loop.

    def run(self) -> Any:  # noqa: C901, PLR0915  # one loop over local variables: a call per opcode doubles the time
        """Interpret opcodes up to STOP and return what is on the stack.

        The opcodes that make up nearly all of a checkpoint are here, the most frequent first; they work on
        local variables. All others are functions in `opcodes`.
        """
        buffer, pos, safe = self.buffer, self.pos, self.safe
        stack, memo, simple = self.stack, self.memo, self.calls.simple
        persistent_load, phrase, replaced = self.persistent_load, self.phrase, self.replaced
        try:
            while True:
                if pos >= safe:
                    buffer = self.refill(pos)
                    pos, safe = 0, self.safe
                op = buffer[pos]
                pos += 1
                if op == 0x68:  # BINGET
                    index = buffer[pos]
                    stack.append(memo[index] if index < len(memo) else self.stored(index))
                    pos += 1
                elif op == 0x72:  # LONG_BINPUT
                    index = _u32(buffer, pos)[0]
                    if index == len(memo):
                        memo.append(stack[-1])
                    else:
                        self.store(index, stack[-1])
                    pos += 4
                elif op == 0x94:  # MEMOIZE
                    if self.beyond:
                        self.memoize(stack[-1])
                    else:
                        memo.append(stack[-1])
                elif op == 0x4B:  # BININT1
                    stack.append(buffer[pos])
                    pos += 1
                elif op == 0x28:  # MARK
                    if phrase is not None and buffer[pos] == 0x28:
                        after = phrase(buffer, pos + 1, stack, memo)
                        if after:
                            pos = after
                            continue
                    self.outer.append(stack)
                    self.stack = stack = []
                    if len(self.outer) > MAX_MARKS:
                        raise LimitError(f"more than {MAX_MARKS} containers are open at a time")
                elif op == 0x74:  # TUPLE
                    items = stack
                    self.stack = stack = self.outer.pop()
                    stack.append(tuple(items))
                elif op == 0x52:  # REDUCE
                    args = stack.pop()
                    target = stack[-1]
                    call = simple.get(id(target))
                    if call is not None and type(args) is tuple:
                        value = call(args)
                        if value is NotImplemented or type(value) is Redirect:
                            value = self.calls.call(target, args)
                    else:
                        self.pos = pos
                        value = self.calls.call(target, args)
                    stack[-1] = value
                elif op == 0x85:  # TUPLE1
                    stack[-1] = (stack[-1],)
                elif op == 0x86:  # TUPLE2
                    last = stack.pop()
                    stack[-1] = (stack[-1], last)
                elif op == 0x58:  # BINUNICODE
                    length = _u32(buffer, pos)[0]
                    pos += 4
                    if length < LAZY:
                        stack.append(buffer[pos : pos + length].decode("utf-8", "surrogatepass"))
                        pos += length
                    else:
                        self.pos = pos
                        stack.append(self.text(length))
                        pos = self.pos
                elif op == 0x8C:  # SHORT_BINUNICODE
                    length = buffer[pos]
                    pos += 1
                    stack.append(buffer[pos : pos + length].decode("utf-8", "surrogatepass"))
                    pos += length
                elif op == 0x4A:  # BININT
                    stack.append(_i32(buffer, pos)[0])
                    pos += 4
                elif op == 0x4D:  # BININT2
                    stack.append(_u16(buffer, pos)[0])
                    pos += 2
                elif op == 0x51:  # BINPERSID
                    self.pos = pos
                    stack[-1] = persistent_load(stack[-1])
                elif op == 0x29:  # EMPTY_TUPLE
                    stack.append(())
                elif op == 0x89:  # NEWFALSE
                    stack.append(False)
                elif op == 0x71:  # BINPUT
                    self.store(buffer[pos], stack[-1])
                    pos += 1
                elif op == 0x6A:  # LONG_BINGET
                    stack.append(self.stored(_u32(buffer, pos)[0]))
                    pos += 4
                elif op == 0x43:  # SHORT_BINBYTES
                    length = buffer[pos]
                    pos += 1
                    stack.append(buffer[pos : pos + length])
                    pos += length
                elif op == 0x42:  # BINBYTES
                    length = _u32(buffer, pos)[0]
                    self.pos = pos + 4
                    stack.append(self.take(length) if length < LAZY else self.blob(length, "", BYTES))
                    pos = self.pos
                elif op == 0x87:  # TUPLE3
                    last = stack.pop()
                    middle = stack.pop()
                    stack[-1] = (stack[-1], middle, last)
                elif op == 0x4E:  # NONE
                    stack.append(None)
                elif op == 0x7D:  # EMPTY_DICT
                    stack.append({})
                elif op == 0x73:  # SETITEM
                    if not replaced and type(stack[-2]) is str and type(stack[-3]) is dict:
                        key, value = stack[-2:]
                        del stack[-2:]
                        stack[-1][key] = value
                    else:
                        self.pos = pos
                        OPCODES[op](self)
                elif op in (0x8E, 0x96):  # BINBYTES8, BYTEARRAY8
                    length = _u64(buffer, pos)[0]
                    pos += 8
                    if length < LAZY:
                        stack.append(buffer[pos : pos + length])
                        pos += length
                    else:
                        self.pos = pos
                        stack.append(self.blob(length, "", BYTES))
                        pos = self.pos
                elif op == 0x2E:  # STOP
                    self.pos = pos
                    self.check_end()
                    return stack[-1]
                else:
                    self.pos = pos
                    OPCODES[op](self)
                    stack, buffer, pos, safe = self.stack, self.buffer, self.pos, self.safe
        finally:
            self.pos = pos if self.buffer is buffer and pos >= self.pos else self.pos


def _is_bare_call(value: Any) -> bool:
    """Say whether a value is the record of a call and holds nothing else that a file could mean to keep."""
    if type(value) is not Record:
        return type(value) is Global
    return not value and value.appended is None and value.state is None
