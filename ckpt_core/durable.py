"""Getting bytes to disk: early, and many files at once, where the system has calls for it."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
from typing import Any, Final

__all__ = ["start_writeback", "sync_directory", "sync_file", "sync_filesystem"]

_WRITE: Final = 2  # SYNC_FILE_RANGE_WRITE of linux/fs.h


@functools.cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def start_writeback(fd: int, offset: int, length: int) -> None:
    """Let the disk begin with bytes that were written, without waiting; a hint that may be ignored."""
    function = getattr(_libc(), "sync_file_range", None) if length else None  # 0 would mean all that follows
    if function is not None:
        function(fd, ctypes.c_int64(offset), ctypes.c_int64(length), _WRITE)


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
