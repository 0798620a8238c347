"""The opcodes that the loop of the machine does not handle itself, one function each.

Each takes the machine, whose position is after the opcode. The names are those of `Lib/pickletools.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ckpt_core.errors import DamagedFileError
from ckpt_core.pickles import literals
from ckpt_core.pickles.constructors import Pending
from ckpt_core.pickles.keys import is_plain
from ckpt_core.pickles.literals import integer, line
from ckpt_core.pickles.state import merge, restore
from ckpt_core.tree import Global, Record

if TYPE_CHECKING:
    from ckpt_core.pickles.machine import Machine

__all__ = ["OPCODES"]


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
    elif type(target) is Record:
        _extend(m, items)
    else:
        m.fail(f"adds items to a {type(target).__name__}")


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
    m.stack.append(m.stored(integer(m, line(m))))


def put(m: Machine) -> None:
    index = integer(m, line(m))
    if index < 0:
        m.fail("an object is stored under a negative number")
    m.store(index, m.stack[-1])


# Globals, calls and states.


def global_(m: Machine) -> None:
    module, name = line(m), line(m)
    m.stack.append(m.calls.name(module.decode(), name.decode()))


def stack_global(m: Machine) -> None:
    name = m.stack.pop()
    m.stack.append(m.calls.name(m.stack.pop(), name))


def extension(width: int) -> Callable[[Machine], None]:
    def read(m: Machine) -> None:
        code = int.from_bytes(m.take(width), "little")
        m.stack.append(m.calls.name("copyreg", f"extension({code})"))

    return read


def inst(m: Machine) -> None:
    args = tuple(_marked(m))
    target = m.calls.name(line(m).decode(), line(m).decode())
    m.stack.append(m.calls.call(target, args))


def obj(m: Machine) -> None:
    items = _marked(m)
    m.stack.append(m.calls.call(items[0], tuple(items[1:])))


def newobj(m: Machine) -> None:
    args = m.stack.pop()
    m.stack.append(m.calls.call(m.stack.pop(), args))


def newobj_ex(m: Machine) -> None:
    keywords = m.stack.pop()
    args = m.stack.pop()
    target = m.stack.pop()
    if type(keywords) is not dict or type(args) is not tuple:
        m.fail("the arguments of a call are not a tuple and a dict")
    if keywords and type(target) is Global:
        m.calls.charge((keywords,))
        m.stack.append(Record(target.name, keywords, args=args))
    else:
        m.stack.append(m.calls.call(target, args))


def build(m: Machine) -> None:
    state = m.stack.pop()
    target = m.stack[-1]
    if type(target) is Pending:
        if target.constructor.copies:
            for part in state if type(state) is tuple else (state,):
                m.calls.charge((part, *part.values()) if type(part) is dict else (part,))
        m.stack[-1] = restore(m, target, state)
    elif type(target) is Record:
        m.calls.charge(state if type(state) is tuple else (state,))
        merge(target, state)
    elif type(target) is dict:
        if state:  # an OrderedDict with attributes of its own
            found = _target(m)
            m.calls.charge((found, state))
            if type(found) is not Record:
                found = Record("collections.OrderedDict", target)
                m.replaced[id(target)] = target, found
            merge(found, state)
            m.stack[-1] = found
    elif type(target) is Global:
        m.stack[-1] = Record(target.name, state=state)
    else:
        m.fail(f"restores the state of a {type(target).__name__}")


def persid(m: Machine) -> None:
    m.stack.append(m.persistent_load(line(m).decode()))


def proto(m: Machine) -> None:
    version = m.take(1)[0]
    if version > 5:
        m.fail(f"pickle protocol {version} is unknown")


def frame(m: Machine) -> None:
    length = struct.unpack("<Q", m.take(8))[0]
    m.need(length)
    m.framed = m.position + length


def nothing(m: Machine) -> None:
    """READONLY_BUFFER: data that nobody writes to is read-only anyway."""


def unknown(m: Machine) -> None:
    m.pos -= 1
    raise DamagedFileError(
        f"0x{m.buffer[m.pos]:02x} is no pickle opcode", path=m.source.path, place=f"byte {m.position}"
    )


_BY_CODE: Final[dict[bytes, Callable[[Machine], None]]] = {
    b"I": literals.int_line,
    b"L": literals.long_line,
    b"\x8a": literals.long1,
    b"\x8b": literals.long4,
    b"F": literals.float_line,
    b"G": literals.binfloat,
    b"\x88": literals.newtrue,
    b"V": literals.unicode_line,
    b"S": literals.string_line,
    b"T": literals.binstring,
    b"U": literals.short_binstring,
    b"\x8d": literals.binunicode8,
    b"\x8e": literals.binbytes8,
    b"\x96": literals.binbytes8,
    b"\x97": literals.next_buffer,
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
