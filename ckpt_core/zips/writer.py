"""ZipWriter: a ZIP archive of stored members whose bytes are aligned, as loaders that map a file want them.

The CRC-32 of a member is known once it is written; it is put into the local header afterwards, so that there are no
data descriptors, and plain ZIP tools and torch's own reader see the same archive. Format: PKWARE's APPNOTE 6.3.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UsageError
from ckpt_core.writer import FileWriter

__all__ = ["ZipWriter"]

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_FULL32: Final = 0xFFFFFFFF
_UTF8: Final = 0x800
_DAY: Final = 0x21
"""1 January 1980, the first day that the format knows: equal content gives equal bytes."""

_SMALL: Final = 1 << 20
"""Up to this many bytes a member is read whole and written with its header in one step."""


class ZipWriter:
    """A ZIP archive under construction.

    Arguments:
        file: where it goes; it must be at its beginning.
        alignment: the bytes of every member start at a multiple of it.

    Example:
        with sink.file() as file:
            archive = ZipWriter(file)
            archive.add("archive/version", b"3\\n")
            archive.finish()
    """

    def __init__(self, file: FileWriter, alignment: int = 64) -> None:
        self._file = file
        self._alignment = alignment
        self._central = bytearray()
        self._names: set[str] = set()

    def add(self, name: str, data: bytes | memoryview) -> int:
        """Add a member; returns its CRC-32."""
        crc = zlib.crc32(data)
        offset = self._file.tell()
        self._file.write(b"".join((self._header(name, len(data), crc, offset), data)))
        self._record(name, len(data), crc, offset)
        return crc

    def add_array(self, name: str, array: LazyArray) -> int:
        """Add a member with the bytes of an array, copied by the kernel where it can; returns its CRC-32.

        Raises:
            DamagedFileError: the array's own checksum does not match.
        """
        size = array.nbytes
        if size <= _SMALL:
            return self.add(name, _read(array))
        offset = self._file.tell()
        self._file.write(self._header(name, size, 0, offset))
        crc = self._file.write_array(array, checksum=True)
        self._file.overwrite(offset + 14, struct.pack("<L", crc))
        self._record(name, size, crc, offset)
        return crc

    def finish(self) -> None:
        """Write the directory."""
        start, size, count = self._file.tell(), len(self._central), len(self._names)
        self._file.write(self._central)
        if count >= 0xFFFF or max(start, size) >= _FULL32:
            end = start + size
            self._file.write(
                struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
                + struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
            )
        short = min(count, 0xFFFF)
        self._file.write(
            struct.pack(
                "<4s4H2LH", b"PK\x05\x06", 0, 0, short, short, min(size, _FULL32), min(start, _FULL32), 0
            )
        )

    def _header(self, name: str, size: int, crc: int, offset: int) -> bytes:
        """Return the local header, its extra field filled up so that the data after it is aligned."""
        raw = name.encode()
        large = size >= _FULL32
        extra = struct.pack("<2H2Q", 1, 16, size, size) if large else b""
        if name in self._names:
            raise UsageError(f"two members of the archive are named {name!r}")
        pad = -(offset + _LOCAL.size + len(raw) + len(extra) + 4) % self._alignment
        extra += struct.pack("<2sH", b"FB", pad) + b"Z" * pad
        short = min(size, _FULL32)
        version = 45 if large else 20
        return (
            _LOCAL.pack(b"PK\x03\x04", version, _UTF8, 0, 0, _DAY, crc, short, short, len(raw), len(extra))
            + raw
            + extra
        )

    def _record(self, name: str, size: int, crc: int, offset: int) -> None:
        raw = name.encode()
        wide = [value for value in (size, size, offset) if value >= _FULL32]
        extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        version = 45 if wide else 20
        short, at = min(size, _FULL32), min(offset, _FULL32)
        self._central += (
            _CENTRAL.pack(
                b"PK\x01\x02",
                version,
                version,
                _UTF8,
                0,
                0,
                _DAY,
                crc,
                short,
                short,
                len(raw),
                len(extra),
                0,
                0,
                0,
                0,
                at,
            )
            + raw
            + extra
        )
        self._names.add(name)


def _read(array: LazyArray) -> bytes | memoryview:
    window = array.file_window()
    if window is None:
        return b"".join(array.tiles())
    storage, offset, length = window
    if length != storage.nbytes:
        storage.verify()
    return storage.read(offset, length)
