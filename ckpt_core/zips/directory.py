"""The central directory of a ZIP archive, read strictly.

Format: PKWARE's APPNOTE 6.3. Two readers must not be able to see two different archives in one file, so every
entry has a name of its own, a local header that agrees with the directory, and bytes of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from ckpt_core.errors import DamagedFileError, LimitError, UnsafePathError, UnsupportedError
from ckpt_core.source import Source, ahead

__all__ = ["DEFLATED", "STORED", "Entry", "read_directory"]

STORED: Final = 0
DEFLATED: Final = 8

MAX_DIRECTORY: Final = 1 << 28
"""Bytes of a central directory that are read at most (some two million entries)."""

_LOCAL: Final = struct.Struct("<4s2xHH4x3L2H")
_CENTRAL: Final = struct.Struct("<4s4xHH4x3L4H6xL")
_END: Final = struct.Struct("<4s4H2LH")
_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_FULL32: Final = 0xFFFFFFFF
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_HAS_DESCRIPTOR: Final = 0x8
_NO_SIZES: Final = bytes(12)


class Entry(NamedTuple):
    """One member: how it is compressed, its CRC-32, and where its bytes lie."""

    name: str
    method: int
    crc32: int
    compressed: int
    size: int
    start: int


_Header = tuple[int, bytes, bytes, int, int, int, int, int]
"""Of a directory entry: where its local header is, raw name, the fixed part of a local header that says the same
(up to the length of the extra field), flags, method, CRC-32, compressed size, size."""


def read_directory(source: Source) -> dict[str, Entry]:
    """Return the members of an archive by name, in the order of their bytes.

    Raises:
        DamagedFileError: it is no ZIP archive, is cut off, or contradicts itself.
        UnsafePathError: a member's name is absolute or leads upwards.
        UnsupportedError: it is encrypted or in several parts.
    """
    try:
        start, size, count = _find_directory(source)
        headers = _parse(source.read(start, size), count)
        with source.reading() as read:
            return _match_headers(headers, start, ahead(read, start))
    except (DamagedFileError, UnsafePathError, UnsupportedError) as error:
        raise error.located(source.path) from None


def _parse(data: bytes, count: int) -> list[_Header]:
    """Parse the central directory."""
    headers = []
    unpack, width, end = _CENTRAL.unpack_from, _CENTRAL.size, len(data)
    position = 0
    for index in range(count):
        if position + width > end:
            raise DamagedFileError(f"the directory ends after {index} of {count} entries")
        (magic, flags, method, crc, compressed, size, n_name, n_extra, n_comment, disk, offset) = unpack(
            data, position
        )
        if flags & _HAS_DESCRIPTOR:  # the CRC-32 and the sizes stand behind the member
            local = (
                b"PK\x03\x04"
                + data[position + 6 : position + 16]
                + _NO_SIZES
                + data[position + 28 : position + 30]
            )
        else:
            local = b"PK\x03\x04" + data[position + 6 : position + 30]
        extra_at = position + width + n_name
        position = extra_at + n_extra + n_comment
        if magic != b"PK\x01\x02" or position > end:
            raise DamagedFileError(f"entry {index} of the directory is damaged")
        raw = data[extra_at - n_name : extra_at]
        if _FULL32 in (compressed, size, offset) or disk == 0xFFFF:
            extra = data[extra_at : extra_at + n_extra]
            size, compressed, offset, disk = _zip64(extra, size, compressed, offset, disk)
            local = b""
        if flags & _ENCRYPTED:
            raise UnsupportedError("is encrypted", place=repr(raw[:200]), remedy="Decrypt it first.")
        if disk:
            raise UnsupportedError("is one part of an archive in several files")
        headers.append((offset, raw, local, flags, method, crc, compressed, size))
    if position != end:
        raise DamagedFileError(f"the directory holds more than the {count} entries that are declared")
    return headers


def _match_headers(headers: list[_Header], limit: int, read: Callable[[int, int], bytes]) -> dict[str, Entry]:
    """Read the local headers in the order of the file; each must agree with the directory and overlap nothing."""
    entries: dict[str, Entry] = {}
    width = _LOCAL.size
    end = 0
    for header in sorted(headers):
        offset, raw, local, flags, method, crc, compressed, size = header
        name = _name(raw, flags)
        body = offset + width + len(raw)
        if offset < end or body > limit:
            raise DamagedFileError(f"member {name[:200]!r} overlaps another one or the directory")
        data = read(offset, body - offset)
        if data[width:] != raw or (data[: width - 2] != local and not _agrees(data, header, read)):
            raise DamagedFileError(f"the header of member {name[:200]!r} disagrees with the directory")
        start = body + data[width - 2] + (data[width - 1] << 8)
        end = start + compressed
        if end > limit:
            raise DamagedFileError(f"member {name[:200]!r} overlaps the directory")
        if method == STORED:
            if size != compressed:
                raise DamagedFileError(f"member {name[:200]!r} is stored, and has two sizes")
        elif method != DEFLATED:
            raise UnsupportedError(f"member {name[:200]!r} is compressed by method {method}, not deflate")
        if name in entries:
            raise DamagedFileError(f"has two members {name[:200]!r}")
        entries[name] = Entry(name, method, crc, compressed, size, start)
    return entries


def _agrees(data: bytes, header: _Header, read: Callable[[int, int], bytes]) -> bool:
    """Say whether a local header that is not the same, byte for byte, means the same as the directory's entry."""
    offset, raw, _, flags, method, crc, compressed, size = header
    magic, local_flags, local_method, local_crc, local_compressed, local_size, n_name, n_extra = (
        _LOCAL.unpack_from(data)
    )
    if magic != b"PK\x03\x04" or n_name != len(raw) or local_method != method or local_flags & _ENCRYPTED:
        return False
    if flags & _HAS_DESCRIPTOR:
        return bool(local_flags & _HAS_DESCRIPTOR)
    if _FULL32 in (local_size, local_compressed):
        extra = read(offset + len(data), n_extra)
        local_size, local_compressed, _, _ = _zip64(extra, local_size, local_compressed, 0, 0)
    sizes_agree = (local_size, local_compressed) == (size, compressed)
    return sizes_agree and local_crc == crc and not local_flags & _HAS_DESCRIPTOR


def _find_directory(source: Source) -> tuple[int, int, int]:
    """Return the start, size and number of entries of the central directory."""
    tail_at = max(source.size - _END.size - 0xFFFF, 0)
    tail = source.read(tail_at, source.size - tail_at)
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0 and (
        at + _END.size > len(tail) or at + _END.size + _END.unpack_from(tail, at)[7] != len(tail)
    ):
        at = tail.rfind(b"PK\x05\x06", 0, at)
    if at < 0:
        raise DamagedFileError(
            "the directory of the ZIP archive is missing",
        )
    _, disk, first, here, count, size, start, _ = _END.unpack_from(tail, at)
    end = tail_at + at
    locator = source.read(end - _LOCATOR.size, _LOCATOR.size) if end >= _LOCATOR.size else b""
    if locator[:4] == b"PK\x06\x07":
        _, home, end64, parts = _LOCATOR.unpack(locator)
        if home or parts > 1 or end64 + _END64.size > end - _LOCATOR.size:
            raise DamagedFileError("the ZIP64 end of the directory is damaged")
        magic, length, _, _, disk, first, here64, count64, size64, start64 = _END64.unpack(
            source.read(end64, _END64.size)
        )
        if magic != b"PK\x06\x06" or end64 + 12 + length != end - _LOCATOR.size:
            raise DamagedFileError("the ZIP64 end of the directory is damaged")
        for short, full, long in ((here, 0xFFFF, here64), (count, 0xFFFF, count64), (size, _FULL32, size64)):
            if short not in (full, long):
                raise DamagedFileError("the two ends of the directory disagree")
        if start not in (_FULL32, start64):
            raise DamagedFileError("the two ends of the directory disagree")
        here, count, size, start, end = here64, count64, size64, start64, end64
    if disk or first:
        raise UnsupportedError("is one part of an archive in several files")
    if here != count or start + size != end or count * _CENTRAL.size > size:
        raise DamagedFileError(
            f"a directory of {count} entries in {size} bytes at {start} does not end at {end}"
        )
    if size > MAX_DIRECTORY:
        raise LimitError(f"a directory of {size} bytes is beyond the cap of {MAX_DIRECTORY}")
    return start, size, count


def _zip64(extra: bytes, size: int, compressed: int, offset: int, disk: int) -> tuple[int, int, int, int]:
    """Replace the fields that do not fit 32 bits by those of the ZIP64 extra field."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        body = extra[at + 4 : at + 4 + length]
        at += 4 + length
        if tag != 1:
            continue
        wide = [value == _FULL32 for value in (size, compressed, offset)]
        if len(body) < 8 * sum(wide) + (4 if disk == 0xFFFF else 0):
            break
        values = iter(struct.unpack_from(f"<{sum(wide)}Q", body))
        size, compressed, offset = (
            next(values) if is_wide else value
            for value, is_wide in zip((size, compressed, offset), wide, strict=True)
        )
        if disk == 0xFFFF:
            (disk,) = struct.unpack_from("<L", body, 8 * sum(wide))
        return size, compressed, offset, disk
    raise DamagedFileError("an entry is too large for its fields, and has no ZIP64 field")


def _name(raw: bytes, flags: int) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        if flags & 0x800:
            raise DamagedFileError(f"the member name {raw[:200]!r} is not UTF-8") from None
        name = raw.decode("cp437")
    if not name or "\0" in name or name[0] in "/\\" or name[1:2] == ":":
        raise UnsafePathError(f"the member name {name[:200]!r} is not a relative path")
    if ".." in name and ".." in name.replace("\\", "/").split("/"):
        raise UnsafePathError(f"the member name {name[:200]!r} leads upwards")
    return name
