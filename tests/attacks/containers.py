"""The containers, written byte by byte, so that each field can be a lie."""

from __future__ import annotations

import io
import json
import struct
import zlib
from typing import Any

from tests.attacks import opcodes as op


class Member:
    """One member of a ZIP archive; every keyword of `local` and `central` replaces a field there."""

    def __init__(
        self,
        name: str | bytes,
        content: bytes,
        *,
        method: int = 0,
        packed: bytes | None = None,
        local: dict[str, Any] | None = None,
        central: dict[str, Any] | None = None,
        **both: Any,
    ) -> None:
        raw = name if isinstance(name, bytes) else name.encode()
        if packed is None:
            packed = content
            if method == 8:
                deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
                packed = deflater.compress(content) + deflater.flush()
        self.packed = packed
        fields = {
            "name": raw, "flags": 0, "method": method, "crc": zlib.crc32(content), "compressed": len(packed),
            "size": len(content), "extra": b"", **both,
        }  # fmt: skip
        self.local = {**fields, **(local or {})}
        self.central = {**fields, "disk": 0, "comment": b"", "offset": None, **(central or {})}


def zip_bytes(
    members: list[Member], *, comment: bytes = b"", end: dict[str, Any] | None = None, before: bytes = b""
) -> bytes:
    """Return an archive; `end` replaces fields of its last record, `before` stands before the first member."""
    out = io.BytesIO()
    out.write(before)
    offsets = []
    for member in members:
        offsets.append(out.tell())
        f = member.local
        out.write(
            struct.pack(
                "<4s5H3L2H", b"PK\x03\x04", 20, f["flags"], f["method"], 0, 0x21, f["crc"], f["compressed"], f["size"],
                len(f["name"]), len(f["extra"]),
            )
        )  # fmt: skip
        out.write(f["name"] + f["extra"] + member.packed)
    start = out.tell()
    for member, offset in zip(members, offsets, strict=True):
        f = member.central
        at = offset if f["offset"] is None else f["offset"]
        out.write(
            struct.pack(
                "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, f["flags"], f["method"], 0, 0x21, f["crc"], f["compressed"],
                f["size"], len(f["name"]), len(f["extra"]), len(f["comment"]), f["disk"], 0, 0, at,
            )
        )  # fmt: skip
        out.write(f["name"] + f["extra"] + f["comment"])
    size = out.tell() - start
    last = {
        "disk": 0, "cd_disk": 0, "here": len(members), "count": len(members), "size": size, "start": start,
        "comment_length": len(comment), "locator": b"", **(end or {}),
    }  # fmt: skip
    out.write(last["locator"])
    out.write(
        struct.pack(
            "<4s4H2LH", b"PK\x05\x06", last["disk"], last["cd_disk"], last["here"], last["count"], last["size"],
            last["start"], last["comment_length"],
        )
    )  # fmt: skip
    return out.getvalue() + comment


# torch


def storage(
    key: str = "0", numel: Any = 6, kind: str = "FloatStorage", module: str = "torch", *more: Any
) -> bytes:
    """The persistent id of a storage."""
    return op.value(("storage", op.Raw(op.global_(module, kind, 2)), key, "cpu", numel, *more), 2) + b"Q"


def tensor(
    stored: bytes | None = None,
    offset: Any = 0,
    size: Any = (2, 3),
    stride: Any = (3, 1),
    *more: Any,
    v3: Any = None,
) -> bytes:
    """A call on `_rebuild_tensor_v2` (or `_v3` with a dtype)."""
    args = [
        op.Raw(stored or storage()),
        offset,
        size,
        stride,
        False,
        op.Raw(op.call("collections", "OrderedDict", protocol=2)),
    ]
    if v3 is not None:
        args.append(op.Raw(op.global_("torch", v3, 2)))
    name = "_rebuild_tensor_v3" if v3 is not None else "_rebuild_tensor_v2"
    return op.global_("torch._utils", name, 2) + op.value((*args, *more), 2) + op.REDUCE


FLOATS = struct.pack("<6f", *range(6))


def torch_zip(
    body: bytes,
    storages: dict[str, bytes] | None = None,
    *,
    more: list[Member] | None = None,
    byteorder: bytes = b"little",
    **options: Any,
) -> bytes:
    """A torch archive around the opcodes of its data.pkl (without protocol and STOP)."""
    members = [Member("archive/data.pkl", op.pickled(body, 2)), Member("archive/byteorder", byteorder)]
    members += [
        Member(f"archive/data/{key}", raw)
        for key, raw in ({"0": FLOATS} if storages is None else storages).items()
    ]
    members += [Member("archive/version", b"3\n"), *(more or [])]
    return zip_bytes(members, **options)


def torch_legacy(
    body: bytes,
    keys: Any = ("0",),
    storages: bytes | None = None,
    *,
    magic: int = 0x1950A86A20F9469CFC6C,
    version: int = 1001,
) -> bytes:
    """A file of torch before 1.6 around the opcodes of its object."""
    system = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    head = b"".join(op.pickled(op.value(item, 2), 2) for item in (magic, version, system))
    keys_pickle = op.pickled(op.value(list(keys) if isinstance(keys, tuple) else keys, 2), 2)
    return (
        head
        + op.pickled(body, 2)
        + keys_pickle
        + (struct.pack("<q", 6) + FLOATS if storages is None else storages)
    )


# safetensors


def safetensors(header: Any, body: bytes = b"", *, length: int | None = None) -> bytes:
    """A file from a header (JSON values, or its bytes as they are) and data."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + body


# msgpack


def mp(value: Any) -> bytes:
    """A value in msgpack; bytes that are encoded already are given as `op.Raw`."""
    if isinstance(value, op.Raw):
        return value.code
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return (
            bytes([value])
            if 0 <= value < 128
            else b"\xcf" + struct.pack(">Q", value)
            if value > 0
            else b"\xd3" + struct.pack(">q", value)
        )
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        raw = value.encode()
        return (bytes([0xA0 | len(raw)]) if len(raw) < 32 else b"\xdb" + struct.pack(">I", len(raw))) + raw
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    if isinstance(value, dict):
        return b"\xdf" + struct.pack(">I", len(value)) + b"".join(mp(k) + mp(v) for k, v in value.items())
    return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(mp, value))


def ext(code: int, payload: bytes, length: int | None = None) -> op.Raw:
    """An extension value; `length` may lie."""
    return op.Raw(
        b"\xc9" + struct.pack(">I", len(payload) if length is None else length) + bytes([code]) + payload
    )


def flax_array(shape: Any = (2, 3), dtype: Any = "float32", raw: Any = FLOATS, code: int = 1) -> op.Raw:
    return ext(code, mp([list(shape) if isinstance(shape, tuple) else shape, dtype, raw]))
