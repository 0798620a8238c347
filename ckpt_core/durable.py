"""Getting bytes to disk: early, and many files at once, where the system has calls for it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import sys
import threading
from typing import Any, Final

__all__ = ["Flushing", "start_writeback", "sync_directory", "sync_file", "sync_filesystem"]

FLUSHED: Final = 64 << 20
"""Bytes that are worth a flush of their own while more is written."""

_WRITE: Final = 2  # SYNC_FILE_RANGE_WRITE of linux/fs.h


@functools.cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Let the disk begin with bytes that were written, without waiting; a hint that may be ignored."""
    function = getattr(_libc(), "sync_file_range", None) if length else None  # 0 would mean all that follows
    if function is not None:
        function(fd, ctypes.c_int64(offset), ctypes.c_int64(length), _WRITE)


class Flushing:
    """Flushes what was written while more is written, so that the last flush, which is the caller's, is short.

    A disk keeps what it was given in its own memory until it is told to flush; then everything is waited for.
    Several threads may write.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._written = 0
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None

    def wrote(self, fd: int, count: int) -> None:
        """Count bytes that were written to an open file; from time to time this begins a flush of it."""
        with self._lock:
            self._written += count
            is_busy = self._thread is not None and self._thread.is_alive()
            if self._written < FLUSHED or is_busy or not hasattr(os, "fdatasync"):
                return
            self._written = 0
            self._begin(fd)

    def _begin(self, fd: int) -> None:
        # without a descriptor or a thread to spare there is the last flush
        with contextlib.suppress(OSError):
            own = os.dup(fd)
            thread = threading.Thread(target=self._flush, args=(own,), name="ckpt-flush", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                os.close(own)
            else:
                self._thread = thread

    def finish(self) -> None:
        """Wait for what is under way.

        Raises:
            OSError: the disk reported an error. It does so once: the caller's own flush would not tell of it.
        """
        if self._thread is not None:
            self._thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _flush(self, fd: int) -> None:
        try:
            os.fdatasync(fd)
        except OSError as error:
            self._error = self._error or error
        finally:
            os.close(fd)


def sync_filesystem(fd: int) -> bool:
    """Flush everything on the file system of an open file; False where the system has no such call.

    Raises:
        OSError: the disk reports an error.
    """
    function = getattr(_libc(), "syncfs", None)
    if function is None:
        return False
    if function(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return True


def sync_file(path: str) -> None:
    """Flush a file to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_directory(path: str) -> None:
    """Flush a directory's entries to disk, where directories can be."""
    try:
        sync_file(path)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
