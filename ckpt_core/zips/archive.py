"""ZIP archives: members as storages, their checksums verified and their inflation bounded."""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Iterator
from typing import Any, Final

from ckpt_core.errors import DamagedFileError, LimitError
from ckpt_core.source import Source
from ckpt_core.storage import BLOCK, DecodedStorage, FileStorage, Storage
from ckpt_core.zips.directory import DEFLATED, STORED, Entry, read_directory

__all__ = ["DEFLATED", "STORED", "Entry", "Zip"]

FREE_INFLATION: Final = 1 << 28
MAX_INFLATION: Final = 128
"""A deflated member beyond FREE_INFLATION bytes may be this many times its compressed size."""

FREE_STRUCTURE: Final = 1 << 22
MAX_STRUCTURE: Final = 64
"""The same for a member that is read as structure, which costs more time per byte than array bytes do."""


class Zip:
    """The directory of a ZIP archive.

    Where every CRC-32 is 0, the writer computed none (torch with `compute_crc32 = False`), and none is checked.

    Arguments:
        source: the archive.

    Raises:
        DamagedFileError: it is no ZIP archive, is cut off, or contradicts itself.
        UnsafePathError: a member's name is absolute or leads upwards.
        UnsupportedError: it is encrypted or in several parts.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.entries = read_directory(source)
        self.has_checksums = any(entry.crc32 for entry in self.entries.values())

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def storage(self, name: str) -> Storage:
        """Return the bytes of a member; its CRC-32 is checked before they are handed on.

        Raises:
            DamagedFileError: there is no such member.
            LimitError: it would inflate beyond the cap.
        """
        entry = self.entries.get(name) or self._entry(name)
        if entry.method == STORED:
            crc32 = entry.crc32 if self.has_checksums else None
            return FileStorage(self.source, entry.start, entry.size, crc32)
        if entry.size > FREE_INFLATION and entry.size > MAX_INFLATION * entry.compressed:
            raise _bomb(self.source, entry)
        source, checked = self.source, self.has_checksums
        return DecodedStorage(entry.size, lambda: _inflated(source, entry, checked))

    def read(self, name: str, limit: int = 1 << 20) -> bytes:
        """Return a small member whole; raises LimitError when it is larger than `limit` bytes."""
        entry = self._entry(name)
        if entry.size > limit:
            raise LimitError(
                f"has {entry.size} bytes, at most {limit} are expected", path=self.source.path, place=name
            )
        return bytes(self.storage(name).read(0, entry.size))

    def read_json(self, name: str, limit: int = 1 << 28) -> dict[str, Any]:
        """Return a member that is a JSON object; {} when there is no such member.

        Raises:
            DamagedFileError: it is something else.
        """
        if name not in self:
            return {}
        try:
            found = json.loads(self.read(name, limit))
        except (ValueError, RecursionError) as error:
            raise DamagedFileError(
                f"is not valid JSON: {error}", path=self.source.path, place=name
            ) from error
        if not isinstance(found, dict):
            raise DamagedFileError("is no JSON object", path=self.source.path, place=name)
        return found

    def open(self, name: str) -> Source:
        """Return a member as a source of its own, its CRC-32 checked; a deflated one goes through a nameless file."""
        storage = self.storage(name)
        entry = self.entries[name]
        if isinstance(storage, FileStorage):
            storage.verify()
            return self.source.window(entry.start, entry.size, name)
        if entry.size > FREE_STRUCTURE and entry.size > MAX_STRUCTURE * entry.compressed:
            raise _bomb(self.source, entry)
        with tempfile.TemporaryFile() as file:
            for part in _inflate(self.source, entry, self.has_checksums):
                file.write(part)
            file.flush()
            inflated = self.source.unlinked(os.dup(file.fileno()), entry.size)
        inflated.path = f"{self.source.path}!{name}"
        return inflated

    def _entry(self, name: str) -> Entry:
        try:
            return self.entries[name]
        except KeyError:
            raise DamagedFileError(f"has no member {name[:200]!r}", path=self.source.path) from None


def _bomb(source: Source, entry: Entry) -> LimitError:
    return LimitError(
        f"{entry.compressed} bytes are declared to inflate to {entry.size}",
        path=source.path,
        place=entry.name,
    )


def _inflated(source: Source, entry: Entry, checked: bool) -> bytearray:
    whole = bytearray(entry.size)
    done = 0
    for part in _inflate(source, entry, checked):
        whole[done : done + len(part)] = part
        done += len(part)
    return whole


def _inflate(source: Source, entry: Entry, checked: bool) -> Iterator[bytes]:
    """Inflate a member block by block, never beyond its declared size, and check its CRC-32 at the end."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    crc = done = 0
    position, end = entry.start, entry.start + entry.compressed
    pending = b""
    while not inflater.eof:
        if not pending:
            if position >= end:
                break
            pending = source.read(position, min(BLOCK, end - position))
            position += len(pending)
        try:
            part = inflater.decompress(pending, BLOCK)
        except zlib.error as error:
            raise DamagedFileError(f"does not inflate: {error}", path=source.path, place=entry.name) from None
        pending = inflater.unconsumed_tail
        done += len(part)
        if done > entry.size:
            break
        crc = zlib.crc32(part, crc)
        yield part
    if done != entry.size or not inflater.eof or pending or inflater.unused_data or position != end:
        raise DamagedFileError(
            f"does not inflate to the {entry.size} bytes declared", path=source.path, place=entry.name
        )
    if checked and source.verify and crc != entry.crc32:
        raise DamagedFileError(
            f"checksum mismatch: CRC-32 is {crc:08x}, the file states {entry.crc32:08x}",
            path=source.path,
            place=entry.name,
        )
