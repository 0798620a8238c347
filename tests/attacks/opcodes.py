"""Pickle opcodes, spelled by hand: what no pickler would write can be written with these."""

from __future__ import annotations

import struct
from typing import Any

STOP, MARK, REDUCE, BUILD = b".", b"(", b"R", b"b"


def proto(version: int) -> bytes:
    return b"\x80" + bytes([version]) if version >= 2 else b""


def text(value: str, protocol: int = 4) -> bytes:
    """A str."""
    if protocol == 0:
        plain = value.replace("\\", "\\u005c").replace("\n", "\\u000a").replace("\0", "\\u0000")
        return b"V" + plain.encode("raw-unicode-escape") + b"\n"
    raw = value.encode()
    if protocol >= 4 and len(raw) < 256:
        return b"\x8c" + bytes([len(raw)]) + raw
    return b"X" + struct.pack("<I", len(raw)) + raw


def binary(value: bytes, protocol: int = 4) -> bytes:
    """Bytes, which protocols before 3 spell as a call."""
    if protocol >= 3:
        return (
            b"C" + bytes([len(value)]) + value
            if len(value) < 256
            else b"B" + struct.pack("<I", len(value)) + value
        )
    return call(
        "_codecs",
        "encode",
        text(value.decode("latin1"), protocol),
        text("latin1", protocol),
        protocol=protocol,
    )


def integer(value: int, protocol: int = 4) -> bytes:
    if protocol == 0:
        return b"I%d\n" % value
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw if protocol >= 2 else b"L%dL\n" % value


def tuple_(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def dict_(items: dict[str, bytes], protocol: int = 4) -> bytes:
    return b"(" + b"".join(text(key, protocol) + value for key, value in items.items()) + b"d"


def list_(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"l"


def global_(module: str, name: str, protocol: int = 4) -> bytes:
    if protocol >= 4:
        return text(module) + text(name) + b"\x93"
    return b"c" + f"{module}\n{name}\n".encode()


def call(module: str, name: str, *args: bytes, protocol: int = 4) -> bytes:
    return global_(module, name, protocol) + tuple_(*args) + REDUCE


def value(item: Any, protocol: int = 4) -> bytes:
    """A plain value; bytes that are opcodes already are given as `Raw`."""
    if isinstance(item, Raw):
        return item.code
    if item is None:
        return b"N"
    if isinstance(item, bool):
        return (
            b"I01\n" if item and protocol < 2 else b"I00\n" if protocol < 2 else b"\x88" if item else b"\x89"
        )
    if isinstance(item, int):
        return integer(item, protocol)
    if isinstance(item, float):
        return b"F%r\n" % item if protocol == 0 else b"G" + struct.pack(">d", item)
    if isinstance(item, str):
        return text(item, protocol)
    if isinstance(item, bytes):
        return binary(item, protocol)
    if isinstance(item, dict):
        return b"(" + b"".join(value(k, protocol) + value(v, protocol) for k, v in item.items()) + b"d"
    if isinstance(item, list):
        return list_(*(value(part, protocol) for part in item))
    if isinstance(item, tuple):
        return tuple_(*(value(part, protocol) for part in item))
    raise TypeError(type(item))


class Raw:
    """Opcodes that stand where a value does."""

    def __init__(self, code: bytes) -> None:
        self.code = code


def name(dotted: str) -> Raw:
    """A global as a value."""
    module, _, last = dotted.rpartition(".")
    return Raw(b"c" + f"{module}\n{last}\n".encode())


def pickled(body: bytes, protocol: int = 4) -> bytes:
    return proto(protocol) + body + STOP


def ndarray(raw: bytes, shape: tuple[Any, ...], dtype: str = "f4", protocol: int = 4, **state: Any) -> bytes:
    """A numpy array as numpy pickles it; `state` replaces parts of the dtype's or the array's state."""
    descr = global_("numpy", "dtype", protocol)
    descr += tuple_(text(dtype, protocol), b"I00\n", b"I01\n") + REDUCE
    parts = state.get("dtype_state", (3, "<", None, None, None, -1, -1, 0))
    if parts is not None:
        descr += value(parts, protocol) + BUILD
    code = global_("numpy.core.multiarray", "_reconstruct", protocol)
    code += (
        tuple_(global_("numpy", "ndarray", protocol), tuple_(integer(0, protocol)), binary(b"b", protocol))
        + REDUCE
    )
    content = state.get("content", binary(raw, protocol))
    return (
        code
        + tuple_(integer(1, protocol), value(shape, protocol), descr, state.get("order", b"I00\n"), content)
        + BUILD
    )
