"""The opcodes that the loop of the machine does not handle itself, one function each.

Each takes the machine, whose position is after the opcode. The names are those of `Lib/pickletools.py`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ckpt_core.errors import DamagedFileError, LimitError, UnsupportedError
from ckpt_core.pickles.blob import BYTES, STRING, TEXT, Blob, unescape
from ckpt_core.pickles.constructors import Pending
from ckpt_core.pickles.keys import is_plain
from ckpt_core.pickles.state import merge, restore
from ckpt_core.tree import Global, Record

if TYPE_CHECKING:
    from ckpt_core.pickles.machine import Machine

__all__ = ["LAZY", "MAX_INT_BYTES", "MAX_LINE", "OPCODES"]

MAX_INT_BYTES: Final = 1750
"""Bytes of one integer: the longest that Python prints (4300 decimal digits)."""

MAX_LINE: Final = 1 << 13
"""Bytes of a line that is a number or a name (protocol 0)."""

LAZY: Final = 256
"""Bytes from this length on stay in the file."""

_INTEGER: Final = re.compile(rb"[+-]?[0-9]{1,4200}")
_OPEN_LINE: Final = 1 << 18


# Numbers.


def int_line(m: Machine) -> None:
    line = _line(m)
    if line in (b"00", b"01"):
        m.stack.append(line == b"01")
    else:
        m.stack.append(_integer(m, line))


def long_line(m: Machine) -> None:
    line = _line(m)
    m.stack.append(_integer(m, line.removesuffix(b"L")))


def _integer(m: Machine, text: bytes) -> int:
    if not _INTEGER.fullmatch(text):
        if text.lstrip(b"+-").isdigit():
            raise LimitError(f"an integer has {len(text)} digits")
        m.fail("an integer is not one")
    return int(text)


def long1(m: Machine) -> None:
    m.stack.append(int.from_bytes(m.take(m.take(1)[0]), "little", signed=True))


def long4(m: Machine) -> None:
    length = struct.unpack("<i", m.take(4))[0]
    m.need(length)
    if length > MAX_INT_BYTES:
        raise LimitError(f"an integer has {length} bytes")
    m.stack.append(int.from_bytes(m.take(length), "little", signed=True))


def float_line(m: Machine) -> None:
    line = _line(m)
    if b"_" in line:
        m.fail("a number is not one")
    m.stack.append(float(line))


def binfloat(m: Machine) -> None:
    m.stack.append(struct.unpack(">d", m.take(8))[0])


def newtrue(m: Machine) -> None:
    m.stack.append(True)


# Text and bytes.


def _line(m: Machine) -> bytes:
    """Return the bytes up to the next newline, which is stepped over."""
    stop = m.buffer.find(b"\n", m.pos)
    if stop < 0 or stop >= len(m.buffer):
        data = m.source.read(m.position, min(MAX_LINE + 1, max(m.end - m.position, 0)))
        length = data.find(b"\n")
    else:
        length = stop - m.pos
        data = m.buffer[m.pos : stop]
    if length < 0 and len(data) <= MAX_LINE:
        m.need(len(data) + 1)
    if not 0 <= length <= MAX_LINE:
        raise LimitError(f"a line has more than {MAX_LINE} bytes")
    m.need(length + 1)
    m.pos += length + 1
    return data[:length]


def _long_line(m: Machine, encoding: str, kind: str) -> Blob:
    """Leave the bytes up to the next newline in the file."""
    at = m.position
    while True:
        data = m.source.read(at, min(_OPEN_LINE, max(m.end - at, 0)))
        if not data:
            m.pos = at - m.base
            m.fail("a line has no end: the file is truncated or damaged")
        stop = data.find(b"\n")
        if stop >= 0:
            blob = m.blob(at + stop - m.position, encoding, kind)
            m.pos += 1
            return blob
        at += len(data)


def unicode_line(m: Machine) -> None:
    blob = _long_line(m, "raw-unicode-escape", TEXT)
    m.stack.append(blob.value() if blob.length < LAZY else blob)


def string_line(m: Machine) -> None:
    blob = _long_line(m, "string-escape", STRING)
    quotes = (
        m.source.read(blob.start, 1) + m.source.read(blob.start + blob.length - 1, 1)
        if blob.length > 1
        else b""
    )
    if quotes not in (b"''", b'""'):
        m.fail("a string has no quotes around it")
    m.stack.append(_python2(Blob(m.source, blob.start + 1, blob.length - 2, blob.encoding, STRING)))


def binstring(m: Machine) -> None:
    m.stack.append(_python2(m.blob(struct.unpack("<i", m.take(4))[0], "", STRING)))


def short_binstring(m: Machine) -> None:
    m.stack.append(_python2(m.blob(m.take(1)[0], "", STRING)))


def _python2(blob: Blob) -> Any:
    """ASCII is text at once; what else a string of Python 2 holds depends on who wants it."""
    if blob.length >= LAZY:
        return blob
    data = blob.source.read(blob.start, blob.length)
    if blob.encoding:
        data = unescape(data)
    return data.decode("ascii") if data.isascii() else blob


def binunicode8(m: Machine) -> None:
    length = struct.unpack("<Q", m.take(8))[0]
    m.stack.append(m.text(length))


def binbytes8(m: Machine) -> None:
    length = struct.unpack("<Q", m.take(8))[0]
    m.stack.append(m.take(length) if length < LAZY else m.blob(length, "", BYTES))


def next_buffer(m: Machine) -> None:
    raise UnsupportedError(
        "the pickle keeps its arrays in separate buffers, which are not in this file",
        path=m.source.path,
        place=f"byte {m.position}",
        remedy="Pickle it again without buffer_callback.",
    )


# Containers.


def empty_list(m: Machine) -> None:
    m.stack.append([])


def empty_dict(m: Machine) -> None:
    m.stack.append({})


def empty_set(m: Machine) -> None:
    m.stack.append(set())


def _marked(m: Machine) -> list[Any]:
    """Close the innermost MARK and return what is above it."""
    items = m.stack
    m.stack = m.outer.pop()
    return items


def list_(m: Machine) -> None:
    items = _marked(m)
    m.stack.append(items)


def dict_(m: Machine) -> None:
    items = _marked(m)
    m.stack.append({})
    _set_items(m, items)


def append(m: Machine) -> None:
    item = m.stack.pop()
    _extend(m, [item])


def appends(m: Machine) -> None:
    _extend(m, _marked(m))


def _target(m: Machine) -> Any:
    """Return the container on top of the stack that is filled."""
    target = m.stack[-1]
    if type(target) is Pending:
        target = target.value
    replaced = m.replaced.get(id(target))
    return target if replaced is None else replaced[1]


def _extend(m: Machine, items: list[Any]) -> None:
    target = _target(m)
    if type(target) is list:
        target.extend(items)
    elif type(target) is Record:
        if target.appended is None:
            target.appended = []
        target.appended.extend(items)
    else:
        m.fail(f"appends to a {type(target).__name__}")


def setitem(m: Machine) -> None:
    value = m.stack.pop()
    _set_items(m, [m.stack.pop(), value])


def setitems(m: Machine) -> None:
    _set_items(m, _marked(m))


def _set_items(m: Machine, items: list[Any]) -> None:
    target = _target(m)
    if len(items) % 2:
        m.fail("a dictionary has a key without a value")
    if not isinstance(target, dict):
        m.fail(f"sets items of a {type(target).__name__}")
    if all([type(key) is str for key in items[::2]]):
        target.update(zip(items[::2], items[1::2], strict=True))
        return
    check = m.keys.check
    for at in range(0, len(items), 2):
        target[check(items[at], target)] = items[at + 1]


def additems(m: Machine) -> None:
    items = _marked(m)
    target = _target(m)
    if type(target) is set:
        keys = [m.keys.check(item, target) for item in items]
        if all(map(is_plain, keys)):
            target.update(keys)
            return
        record = Record("builtins.set", appended=[*target, *keys])
        m.replaced[id(target)] = target, record
        m.stack[-1] = record
    else:
        _extend(m, items)


def frozenset_(m: Machine) -> None:
    items = _marked(m)
    keys = [m.keys.check(item, items) for item in items]
    m.stack.append(
        frozenset(keys) if all(map(is_plain, keys)) else Record("builtins.frozenset", appended=keys)
    )


# The stack and the memo.


def pop(m: Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        _marked(m)


def pop_mark(m: Machine) -> None:
    _marked(m)


def dup(m: Machine) -> None:
    m.stack.append(m.stack[-1])


def get(m: Machine) -> None:
    m.stack.append(m.memo[_integer(m, _line(m))])


def put(m: Machine) -> None:
    index = _integer(m, _line(m))
    if index < 0:
        m.fail("an object is stored under a negative number")
    m.memo[index] = m.stack[-1]


# Globals, calls and states.


def global_(m: Machine) -> None:
    module, name = _line(m), _line(m)
    m.stack.append(m.name(module.decode(), name.decode()))


def stack_global(m: Machine) -> None:
    name = m.stack.pop()
    m.stack.append(m.name(m.stack.pop(), name))


def extension(width: int) -> Callable[[Machine], None]:
    def read(m: Machine) -> None:
        code = int.from_bytes(m.take(width), "little")
        m.stack.append(m.name("copyreg", f"extension({code})"))

    return read


def inst(m: Machine) -> None:
    args = tuple(_marked(m))
    target = m.name(_line(m).decode(), _line(m).decode())
    m.stack.append(m.call(target, args))


def obj(m: Machine) -> None:
    items = _marked(m)
    m.stack.append(m.call(items[0], tuple(items[1:])))


def newobj(m: Machine) -> None:
    args = m.stack.pop()
    m.stack.append(m.call(m.stack.pop(), args))


def newobj_ex(m: Machine) -> None:
    keywords = m.stack.pop()
    args = m.stack.pop()
    target = m.stack.pop()
    if type(keywords) is not dict or type(args) is not tuple:
        m.fail("the arguments of a call are not a tuple and a dict")
    if keywords and type(target) is Global:
        m.charge((keywords,))
        m.stack.append(Record(target.name, keywords, args=args))
    else:
        m.stack.append(m.call(target, args))


def build(m: Machine) -> None:
    state = m.stack.pop()
    target = m.stack[-1]
    if type(target) is Pending:
        if target.constructor.copies:
            m.charge(state.values() if type(state) is dict else ())
        m.stack[-1] = restore(m, target, state)
    elif type(target) is Record:
        m.charge(state if type(state) is tuple else (state,))
        merge(target, state)
    elif type(target) is dict:
        if state:  # an OrderedDict with attributes of its own
            record = Record("collections.OrderedDict", _target(m))
            m.charge((target,))
            m.replaced[id(target)] = target, record
            merge(record, state)
            m.stack[-1] = record
    elif type(target) is Global:
        m.stack[-1] = Record(target.name, state=state)
    else:
        m.fail(f"restores the state of a {type(target).__name__}")


def persid(m: Machine) -> None:
    m.stack.append(m.persistent_load(_line(m).decode()))


def proto(m: Machine) -> None:
    version = m.take(1)[0]
    if version > 5:
        m.fail(f"pickle protocol {version} is unknown")


def frame(m: Machine) -> None:
    m.need(struct.unpack("<Q", m.take(8))[0])


def nothing(m: Machine) -> None:
    """READONLY_BUFFER: data that nobody writes to is read-only anyway."""


def unknown(m: Machine) -> None:
    m.pos -= 1
    raise DamagedFileError(
        f"0x{m.buffer[m.pos]:02x} is no pickle opcode", path=m.source.path, place=f"byte {m.position}"
    )


_BY_CODE: Final[dict[bytes, Callable[[Machine], None]]] = {
    b"I": int_line,
    b"L": long_line,
    b"\x8a": long1,
    b"\x8b": long4,
    b"F": float_line,
    b"G": binfloat,
    b"\x88": newtrue,
    b"V": unicode_line,
    b"S": string_line,
    b"T": binstring,
    b"U": short_binstring,
    b"\x8d": binunicode8,
    b"\x8e": binbytes8,
    b"\x96": binbytes8,
    b"\x97": next_buffer,
    b"\x98": nothing,
    b"]": empty_list,
    b"}": empty_dict,
    b"\x8f": empty_set,
    b"l": list_,
    b"d": dict_,
    b"a": append,
    b"e": appends,
    b"s": setitem,
    b"u": setitems,
    b"\x90": additems,
    b"\x91": frozenset_,
    b"0": pop,
    b"1": pop_mark,
    b"2": dup,
    b"g": get,
    b"p": put,
    b"c": global_,
    b"\x93": stack_global,
    b"\x82": extension(1),
    b"\x83": extension(2),
    b"\x84": extension(4),
    b"i": inst,
    b"o": obj,
    b"\x81": newobj,
    b"\x92": newobj_ex,
    b"b": build,
    b"P": persid,
    b"\x80": proto,
    b"\x95": frame,
}

OPCODES: Final[tuple[Callable[[Machine], None], ...]] = tuple(
    _BY_CODE.get(bytes((code,)), unknown) for code in range(256)
)
