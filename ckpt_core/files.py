"""Open files: a small pool of descriptors, and reading from them by position."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from ckpt_core.errors import ClosedError, DamagedFileError

__all__ = ["Identity", "Pool", "fill", "identity_of", "pread"]

_OPEN_FILES: Final = 64
_FLAGS: Final = (
    os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
)

Identity = tuple[int, int, int, int]


def identity_of(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class Pool:
    """The open files of one checkpoint, the idle ones closed first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.idle: OrderedDict[str, int] = OrderedDict()
        self.busy: dict[str, list[int]] = {}
        self.closed = False

    @contextlib.contextmanager
    def descriptor(self, path: str, identity: Identity) -> Iterator[int]:
        """Lend an open descriptor of `path`; it stays open at least as long as the block lasts."""
        fd = self._take(path, identity)
        try:
            yield fd
        finally:
            self._give(path)

    def _take(self, path: str, identity: Identity) -> int:
        with self.lock:
            if self.closed:
                raise ClosedError("the checkpoint is closed", path=path, remedy="Read inside the with block.")
            if path in self.busy:
                self.busy[path][1] += 1
                return self.busy[path][0]
            fd = self.idle.pop(path, -1)
            if fd < 0:
                while len(self.idle) >= _OPEN_FILES:
                    os.close(self.idle.popitem(last=False)[1])
                fd = _open_same(path, identity)
            self.busy[path] = [fd, 1]
            return fd

    def _give(self, path: str) -> None:
        with self.lock:
            entry = self.busy[path]
            entry[1] -= 1
            if entry[1]:
                return
            del self.busy[path]
            if self.closed:
                os.close(entry[0])
            else:
                self.idle[path] = entry[0]

    def read_once(self, path: str, identity: Identity, position: int, length: int) -> bytes:
        """Read a small file as a whole without keeping it open: directories hold very many of them."""
        if self.closed or path in self.idle or path in self.busy:
            with self.descriptor(path, identity) as fd:
                data = pread(fd, length, position)
        else:
            fd = _open_same(path, identity)
            try:
                data = pread(fd, length, position)
            finally:
                os.close(fd)
        if len(data) != length:
            raise DamagedFileError(f"ends at byte {position + len(data)}, while it is read", path=path)
        return data

    def adopt(self, path: str, fd: int) -> None:
        """Keep a descriptor that has no name any more (an unlinked temporary file)."""
        with self.lock:
            self.busy[path] = [fd, 1]

    def close(self) -> None:
        with self.lock:
            self.closed = True
            while self.idle:
                os.close(self.idle.popitem()[1])
            for path in [path for path in self.busy if path.startswith("\0")]:
                os.close(self.busy.pop(path)[0])

    def __del__(self) -> None:
        """A checkpoint that nobody closed, and of which nobody holds an array any more, leaves no file open."""
        self.close()


def _open_same(path: str, identity: Identity) -> int:
    try:
        fd = os.open(path, _FLAGS)
    except FileNotFoundError:
        raise DamagedFileError(
            "the file is gone since the checkpoint was opened", path=path, remedy="Open it again."
        ) from None
    except OSError as error:
        raise DamagedFileError(f"cannot be read: {error.strerror}", path=path, remedy="") from error
    if identity_of(os.fstat(fd)) != identity:
        os.close(fd)
        raise DamagedFileError(
            "the file changed since the checkpoint was opened", path=path, remedy="Open it again."
        )
    return fd


def read_small(path: str, limit: int) -> bytes | None:
    """Return the bytes of a regular file of at most `limit` bytes; None for anything else, and for a link."""
    try:
        fd = os.open(path, _FLAGS | getattr(os, "O_NOFOLLOW", 0))
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return None
        data = pread(fd, status.st_size, 0)
        return data if len(data) == status.st_size else None
    finally:
        os.close(fd)


def fill(fd: int, buffer: memoryview, position: int, done: int, path: str) -> None:
    """Fill `buffer` from `done` on with the bytes at `position + done`; a short file is an error."""
    buffer = buffer.cast("B") if buffer.format != "B" or buffer.ndim != 1 else buffer
    total = len(buffer)
    while done < total:
        got = _preadv(fd, buffer[done:], position + done)
        if got == 0:
            raise DamagedFileError(f"ends at byte {position + done}, while it is read", path=path)
        done += got


if hasattr(os, "preadv"):

    def pread(fd: int, length: int, position: int) -> bytes:
        return os.pread(fd, length, position)

    def _preadv(fd: int, buffer: memoryview, position: int) -> int:
        return os.preadv(fd, [buffer], position)

else:  # Windows has no positional read; one lock stands in for it.
    _seek_lock = threading.Lock()

    def pread(fd: int, length: int, position: int) -> bytes:
        with _seek_lock:
            os.lseek(fd, position, os.SEEK_SET)
            return os.read(fd, length)

    def _preadv(fd: int, buffer: memoryview, position: int) -> int:
        data = pread(fd, len(buffer), position)
        buffer[: len(data)] = data
        return len(data)
