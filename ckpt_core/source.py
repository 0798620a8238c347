"""Source: one checkpoint's bytes, a regular file, a window of one, or a directory of members.

Reading is by position into fresh buffers: there is no seek pointer to share between threads, and no memory
map that a file cut off underneath could turn into a killed process. Open files are a small pool; a file that
is opened again must still be the one it was (device, inode, size, modification time).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Final

from ckpt_core.errors import CheckpointNotFoundError, DamagedFileError, LimitError, UnsafePathError
from ckpt_core.files import Pool, fill, identity_of, pread, read_small

__all__ = ["Source", "ahead"]

_NO_MEMBERS: Final[dict[str, Source]] = {}
"""What a file has; never written to."""

HEAD: Final = 1 << 16
"""Bytes at the start of a file that are kept for the sniffers, which all look there."""

_NEAR: Final = 1 << 12
_WINDOW: Final = 1 << 16
"""Bytes that are read at a time where the next place to read is near."""


class Source:
    """One checkpoint's bytes.

    A directory of very many small files has a source for each, so these are kept small.

    Arguments:
        path: a file or a directory.
        verify: check the checksums that the format carries before bytes are handed on.
        follow_symlinks: follow links inside a directory that lead out of it.

    Raises:
        CheckpointNotFoundError: there is nothing at `path`.
        UnsafePathError: it is neither a regular file nor a directory.
    """

    __slots__ = (
        "_file",
        "_head",
        "_identity",
        "_members",
        "_pool",
        "_start",
        "_top",
        "follow_symlinks",
        "is_directory",
        "mtime",
        "path",
        "size",
        "verify",
    )

    def __init__(
        self, path: str | os.PathLike[str], *, verify: bool = True, follow_symlinks: bool = False
    ) -> None:
        self.path = os.fspath(path)
        self.verify = verify
        self.follow_symlinks = follow_symlinks
        status = _status(self.path)
        self.is_directory = stat.S_ISDIR(status.st_mode)
        self.size = 0 if self.is_directory else status.st_size
        self.mtime = status.st_mtime
        self._start = 0
        self._file = os.path.abspath(self.path)
        self._top = self.path, self._file
        self._identity = identity_of(status)
        self._pool = Pool()
        self._head: bytes | None = None
        self._members: dict[str, Source] = {}

    def __repr__(self) -> str:
        return f"Source({self.path!r}, {'directory' if self.is_directory else f'{self.size} bytes'})"

    @property
    def name(self) -> str:
        """The last part of the path."""
        return os.path.basename(self.path.rstrip("/")) or self.path

    @property
    def top(self) -> str:
        """The path of the source that was opened, of which this one is a part, or which it is."""
        return self._top[0]

    @property
    def url(self) -> str:
        """The location for a library with its own reading (tensorstore), as an absolute path."""
        return self._file

    # Bytes.

    @property
    def head(self) -> bytes:
        """The first bytes of the file (up to 64 KiB), read once."""
        if self._head is None:
            self._head = b"" if self.is_directory else self.read(0, min(self.size, HEAD))
        return self._head

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset` on; raises DamagedFileError when they are not there."""
        self._check(offset, length)
        if length == self.size <= HEAD and self._file[0] != "\0":
            return self._pool.read_once(self._file, self._identity, self._start, length)
        with self.descriptor() as (fd, base):
            data = pread(fd, length, base + offset)
            if len(data) == length:
                return data
            buffer = bytearray(length)
            buffer[: len(data)] = data
            fill(fd, memoryview(buffer), base + offset, len(data), self.path)
            return bytes(buffer)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Callable[[int, int], bytes]]:
        """Lend a function like `read` for a great many small reads; the open file is looked up once."""
        size = self.size
        with self.descriptor() as (fd, base):

            def read(offset: int, length: int) -> bytes:
                if offset >= 0 and length >= 0 and offset + length <= size:
                    data = pread(fd, length, base + offset)
                    if len(data) == length:
                        return data
                return self.read(offset, length)

            yield read

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `offset` on; raises DamagedFileError when they are not there."""
        self._check(offset, len(buffer))
        with self.descriptor() as (fd, base):
            fill(fd, buffer, base + offset, 0, self.path)

    def descriptor(self) -> contextlib.AbstractContextManager[tuple[int, int]]:
        """Lend the open file and the position in it where this source starts, for a copy by the kernel."""
        return self._descriptor()

    @contextlib.contextmanager
    def _descriptor(self) -> Iterator[tuple[int, int]]:
        with self._pool.descriptor(self._file, self._identity) as fd:
            yield fd, self._start

    def _check(self, offset: int, length: int) -> None:
        if self.is_directory:
            raise DamagedFileError("is a directory where a file is expected", path=self.path)
        if offset < 0 or length < 0 or offset + length > self.size:
            raise DamagedFileError(
                f"ends at byte {self.size}, and bytes {offset} to {offset + length} are declared",
                path=self.path,
            )

    def window(self, start: int, length: int, name: str | None = None) -> Source:
        """Return bytes `start .. start + length` as a source of its own (a file inside this one)."""
        self._check(start, length)
        part = object.__new__(Source)
        self._share_with(part)
        part.path = self.path if name is None else f"{self.path}!{name}"
        part.size = length
        part._start = self._start + start
        return part

    def unlinked(self, fd: int, size: int) -> Source:
        """Return a source over an open, nameless file (decompressed bytes), closed with this one."""
        part = object.__new__(Source)
        self._share_with(part)
        part._file = f"\0{fd}"
        part._identity = identity_of(os.fstat(fd))
        part.size = size
        part._start = 0
        self._pool.adopt(part._file, fd)
        return part

    # Members of a directory.

    def members(self) -> tuple[str, ...]:
        """Return the names of the entries of this directory, sorted."""
        if not self.is_directory:
            return ()
        try:
            return tuple(sorted(os.listdir(self._file)))
        except OSError as error:
            raise DamagedFileError(
                f"cannot be listed: {error.strerror}", path=self.path, remedy=""
            ) from error

    def member(self, name: str) -> Source:
        """Return one entry, by a relative name with `/` between its parts.

        Raises:
            CheckpointNotFoundError: there is no such entry.
            UnsafePathError: the name or a link leads out of the directory, or it is a special file.
        """
        known = self._members.get(name)
        if known is None:
            first, *rest = self._parts(name)
            if rest:
                return self.member(first).member("/".join(rest))
            known = self._members[name] = self.entry(name)
        return known

    def entry(self, name: str) -> Source:
        """Return one entry like `member`, and do not remember it: a directory may have very many."""
        first, *rest = self._parts(name)
        if rest:
            return self.entry(first).entry("/".join(rest))
        child = object.__new__(Source)
        self._share_with(child)
        child.path = f"{self.path}/{name}"
        child._file = child.path if self._file == self.path else f"{self._file}/{name}"
        status = self._status_inside(child)
        child.is_directory = stat.S_ISDIR(status.st_mode)
        child.size = 0 if child.is_directory else status.st_size
        child.mtime = status.st_mtime
        child._start = 0
        child._identity = identity_of(status)
        child._members = {} if child.is_directory else _NO_MEMBERS
        return child

    def _parts(self, name: str) -> list[str]:
        parts = name.split("/")
        if not name or "\0" in name or "\\" in name or any([part in ("", ".", "..") for part in parts]):
            raise UnsafePathError(f"member name {name[:200]!r} leads out of the directory", path=self.path)
        return parts

    def small(self, name: str, limit: int) -> bytes | None:
        """Return the bytes of a small file of this directory, or None where there is none of that name.

        No source is made of it. Links and special files go the longer way through `entry`.

        Raises:
            LimitError: it has more than `limit` bytes.
            CheckpointError: what `entry` and `read` raise.
        """
        data = None if "/" in name else read_small(f"{self._file}/{name}", limit)
        if data is not None:
            return data
        try:
            entry = self.entry(name)
        except CheckpointNotFoundError:
            return None
        if entry.size > limit:
            raise LimitError(f"has {entry.size} bytes", path=entry.path)
        return entry.read(0, entry.size)

    def _share_with(self, other: Source) -> None:
        """Set up another source over the same open files, to be given a place of its own."""
        other.path = self.path
        other.verify = self.verify
        other.follow_symlinks = self.follow_symlinks
        other.is_directory = self.is_directory
        other.size = self.size
        other.mtime = self.mtime
        other._top = self._top
        other._start = self._start
        other._file = self._file
        other._identity = self._identity
        other._pool = self._pool
        other._head = None
        other._members = _NO_MEMBERS

    def has(self, name: str) -> bool:
        """Say whether the directory has an entry of that name."""
        return self.is_directory and os.path.lexists(os.path.join(self._file, *PurePosixPath(name).parts))

    def _status_inside(self, child: Source) -> os.stat_result:
        try:
            status = os.lstat(child._file)
        except FileNotFoundError:
            raise CheckpointNotFoundError("no such file", path=child.path) from None
        except OSError as error:
            raise DamagedFileError(f"cannot be read: {error.strerror}", path=child.path, remedy="") from error
        if not stat.S_ISLNK(status.st_mode):
            return _regular(child.path, status)
        target = os.path.realpath(child._file)
        if not (self.follow_symlinks or self._inside(target)):
            raise UnsafePathError(
                f"is a link out of the checkpoint, to {target}",
                path=child.path,
                remedy="Pass follow_symlinks=True (--follow-symlinks) when you trust where it leads.",
            )
        child._file = target
        return _status(child.path)

    def _inside(self, target: str) -> bool:
        """A link may lead to the checkpoint itself, or from a hub cache's snapshot to its own blobs."""
        root = os.path.realpath(self._top[1])
        if target == root or target.startswith(root + os.sep):
            return True
        above, separator, _ = root.partition(f"{os.sep}snapshots{os.sep}")
        return bool(separator) and target.startswith(os.path.join(above, "blobs") + os.sep)

    def parent(self) -> Source:
        """Return the directory that holds this file, as a source that closes with this one."""
        folder = Source(
            os.path.dirname(self.path) or ".", verify=self.verify, follow_symlinks=self.follow_symlinks
        )
        folder._pool = self._pool
        return folder

    # Life.

    def close(self) -> None:
        """Close every file; reading afterwards raises ClosedError."""
        self._pool.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ahead(read: Callable[[int, int], bytes], limit: int) -> Callable[[int, int], bytes]:
    """Return `read` for places that lie ever further in the file: where they are close, many come in one read.

    Arguments:
        read: reads a length at an offset.
        limit: where the last of the places ends at most.
    """
    base, window = 0, b""

    def read_ahead(offset: int, length: int) -> bytes:
        nonlocal base, window
        at = offset - base
        if at + length > len(window):
            is_close = at < _NEAR + len(window)
            base, at = offset, 0
            window = read(offset, max(min(_WINDOW, limit - offset), length) if is_close else length)
        return window[at : at + length]

    return read_ahead


def _status(path: str) -> os.stat_result:
    try:
        return _regular(path, os.stat(path))
    except FileNotFoundError:
        raise CheckpointNotFoundError(
            "no such file or directory", path=path, remedy=f"Looked at {os.path.abspath(path)}."
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointNotFoundError(f"cannot be opened: {error}", path=path) from error


def _regular(path: str, status: os.stat_result) -> os.stat_result:
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise UnsafePathError("is neither a regular file nor a directory", path=path)
    return status
