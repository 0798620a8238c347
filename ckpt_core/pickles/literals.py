"""The opcodes that put numbers, text and bytes on the stack, and the lines in which protocol 0 writes them.

Each function takes the machine, whose position is after the opcode.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any, Final

from ckpt_core.errors import LimitError, UnsupportedError
from ckpt_core.pickles.blob import BYTES, STRING, TEXT, Blob, unescape

if TYPE_CHECKING:
    from ckpt_core.pickles.machine import Machine

__all__ = ["LAZY", "MAX_INT_BYTES", "MAX_LINE", "integer", "line"]

LAZY: Final = 256
"""Bytes from this length on stay in the file."""

MAX_INT_BYTES: Final = 1750
"""Bytes of one integer: the longest that Python prints (4300 decimal digits)."""

MAX_LINE: Final = 1 << 13
"""Bytes of a line that is a number or a name (protocol 0)."""

_INTEGER: Final = re.compile(rb"[+-]?[0-9]{1,4200}")
_OPEN_LINE: Final = 1 << 18


# Numbers.


def int_line(m: Machine) -> None:
    text = line(m)
    if text in (b"00", b"01"):
        m.stack.append(text == b"01")
    else:
        m.stack.append(integer(m, text))


def long_line(m: Machine) -> None:
    text = line(m)
    m.stack.append(integer(m, text.removesuffix(b"L")))


def integer(m: Machine, text: bytes) -> int:
    """Return the integer that a line spells in decimal digits."""
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
    text = line(m)
    if b"_" in text:
        m.fail("a number is not one")
    m.stack.append(float(text))


def binfloat(m: Machine) -> None:
    m.stack.append(struct.unpack(">d", m.take(8))[0])


def newtrue(m: Machine) -> None:
    m.stack.append(True)


# Text and bytes.


def line(m: Machine) -> bytes:
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


def _text_line(m: Machine, encoding: str, kind: str) -> bytes | Blob:
    """Return the bytes up to the next newline, which is stepped over; many bytes stay in the file."""
    stop = m.buffer.find(b"\n", m.pos)
    if m.pos <= stop < m.pos + LAZY:
        data = m.buffer[m.pos : stop]
        m.pos = stop + 1
        return data
    at, block = m.position, MAX_LINE
    while True:
        data = m.source.read(at, min(block, max(m.end - at, 0)))
        if not data:
            m.pos = at - m.base
            m.fail("a line has no end: the file is truncated or damaged")
        stop = data.find(b"\n")
        if stop >= 0:
            blob = m.blob(at + stop - m.position, encoding, kind)
            m.pos += 1
            return blob if blob.length >= LAZY else m.source.read(blob.start, blob.length)
        at += len(data)
        block = min(2 * block, _OPEN_LINE)


def unicode_line(m: Machine) -> None:
    text = _text_line(m, "raw-unicode-escape", TEXT)
    m.stack.append(text.decode("raw-unicode-escape") if isinstance(text, bytes) else text)


def string_line(m: Machine) -> None:
    text = _text_line(m, "string-escape", STRING)
    if isinstance(text, bytes):
        _check_quotes(m, text[:1] + text[1:][-1:])
        plain = unescape(text[1:-1])
        if plain.isascii():
            m.stack.append(plain.decode("ascii"))
            return
        text = Blob(m.source, m.position - 1 - len(text), len(text), "string-escape", STRING)
    else:
        _check_quotes(m, m.source.read(text.start, 1) + m.source.read(text.start + text.length - 1, 1))
    m.stack.append(Blob(m.source, text.start + 1, text.length - 2, text.encoding, STRING))


def _check_quotes(m: Machine, quotes: bytes) -> None:
    if quotes not in (b"''", b'""'):
        m.fail("a string has no quotes around it")


def binstring(m: Machine) -> None:
    m.stack.append(_python2(m.blob(struct.unpack("<i", m.take(4))[0], "", STRING)))


def short_binstring(m: Machine) -> None:
    m.stack.append(_python2(m.blob(m.take(1)[0], "", STRING)))


def _python2(blob: Blob) -> Any:
    """ASCII is text at once; what else a string of Python 2 holds depends on who wants it."""
    if blob.length >= LAZY:
        return blob
    data = blob.source.read(blob.start, blob.length)
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
