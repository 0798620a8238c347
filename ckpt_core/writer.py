"""FileWriter: one new file, written in order; bytes that stay as they are go from file to file in the kernel."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import zlib
from collections.abc import Callable
from typing import Final

from ckpt_core.arrays import LazyArray
from ckpt_core.durable import Flushing, start_writeback
from ckpt_core.errors import DamagedFileError, TargetError
from ckpt_core.scattered import is_scattered, runs
from ckpt_core.storage import BLOCK, FileStorage, forget_decoded

__all__ = ["FileWriter"]

_KERNEL_COPY: Final = 4 << 20
"""From this length on the kernel copies, with a thread beside it where a checksum is wanted."""

_CHUNK: Final = 64 << 20
"""Bytes that are written or copied in one call."""

_BEHIND: Final = 1 << 20
"""From this length on a tile is written while the next one is made."""

_NOT_BY_KERNEL: Final = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EIO}

Progress = Callable[[int], None]


class FileWriter:
    """A file under construction.

    Arguments:
        path: where it is built (beside the target, under a temporary name).
        progress: called with the number of bytes after each step.
        flushing: of a directory, whose files are flushed together by the caller; else the file is on closing.
    """

    def __init__(self, path: str, progress: Progress | None = None, flushing: Flushing | None = None) -> None:
        self.path = path
        self._is_alone = flushing is None
        self._flushing = flushing or Flushing()
        # Whether the kernel copies from there into this file system: known after the first copy.
        self._by_kernel: bool | None = None if hasattr(os, "copy_file_range") else False
        self._progress = progress or (lambda _: None)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        try:
            self.fd = os.open(path, flags, 0o666)
        except OSError as error:
            raise _cannot_write(path, error) from error
        self._position = 0
        self._behind: _Writing | None = None

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        return self._position

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes; raises TargetError when the system refuses (a full disk)."""
        view = memoryview(data).cast("B") if memoryview(data).nbytes else memoryview(b"")
        try:
            _write_at(self.fd, view, self._position)
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        self._advance(len(view))

    def _advance(self, count: int) -> None:
        """Count bytes that were written."""
        self._position += count
        self._flushing.wrote(self.fd, count)
        self._progress(count)

    def pad_to(self, multiple: int) -> int:
        """Append zeros up to a multiple of `multiple` bytes; returns how many."""
        count = -self._position % multiple
        if count:
            self.write(bytes(count))
        return count

    def overwrite(self, offset: int, data: bytes) -> None:
        """Replace bytes that were written before (a header whose checksum was not known yet)."""
        if offset + len(data) > self._position:
            raise ValueError("only bytes that were written can be overwritten")
        try:
            os.pwrite(self.fd, data, offset)
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def write_array(self, array: LazyArray, *, checksum: bool = False) -> int:
        """Append the bytes of an array in C order, native (little-endian) byte order.

        Returns:
            The CRC-32 of those bytes when `checksum` asks for it, else 0.

        Raises:
            DamagedFileError: the source's own checksum does not match.
        """
        window = array.file_window()
        if window is not None:
            return self.copy(window[0], window[1], window[2], checksum=checksum)
        array.verify()
        if is_scattered(array):
            return self._write_scattered(array, checksum)
        crc = 0
        for tile in array.tiles():
            if checksum:
                crc = zlib.crc32(tile, crc)
            self._write_behind(tile)
        forget_decoded()
        return crc

    def _write_scattered(self, array: LazyArray, checksum: bool) -> int:
        """Append an array run by run, each at its place; the checksum is of what is then read again."""
        start, crc = self._position, 0
        try:
            for count, parts in runs(array):
                for place, run in parts:
                    _write_at(self.fd, run, start + place)
                self._advance(count)
                del parts, run  # they hold the piece, while the next one is decoded
            forget_decoded()
            for offset in range(start, self._position if checksum else start, BLOCK):
                crc = zlib.crc32(os.pread(self.fd, min(BLOCK, self._position - offset), offset), crc)
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        return crc

    def _write_behind(self, tile: memoryview) -> None:
        """Append a tile while the caller makes the next one; an error is raised by what comes after."""
        if len(tile) < _BEHIND:
            self.write(tile)
            return
        self._catch_up()
        try:
            self._behind = _Writing(self.fd, tile, self._position, self._flushing)
        except RuntimeError:  # the system gives no more threads
            self.write(tile)
            return
        self._position += len(tile)
        self._progress(len(tile))

    def _catch_up(self) -> None:
        """Wait for the tile that is being written; raises TargetError when the system refused it."""
        writing, self._behind = self._behind, None
        if writing is not None:
            writing.join()
            if writing.error is not None:
                raise _cannot_write(self.path, writing.error) from writing.error

    def copy(self, storage: FileStorage, offset: int, length: int, *, checksum: bool = False) -> int:
        """Append `length` bytes of a file from `offset` of the storage on; returns their CRC-32 if asked."""
        whole = offset == 0 and length == storage.nbytes
        if not whole:
            storage.verify()
        wanted = checksum or (whole and storage.crc32 is not None)
        crc = 0
        copied = False
        if length >= _KERNEL_COPY and self._by_kernel is not False:
            copied, crc = self._kernel_copy(storage, offset, length, wanted)
            self._by_kernel = copied  # not between two file systems, and then for no array of this file
        if not copied:
            crc = self._copy_blocks(storage, offset, length, wanted)
        if whole and wanted:
            storage.confirm(crc)
        return crc

    def _copy_blocks(self, storage: FileStorage, offset: int, length: int, checksum: bool) -> int:
        crc = 0
        block = memoryview(bytearray(min(BLOCK, max(length, 1))))
        for done in range(0, length, BLOCK):
            part = block[: min(BLOCK, length - done)]
            storage.source.read_into(storage.start + offset + done, part)
            if checksum:
                crc = zlib.crc32(part, crc)
            self.write(part)
        return crc

    def _kernel_copy(
        self, storage: FileStorage, offset: int, length: int, checksum: bool
    ) -> tuple[bool, int]:
        """Copy in the kernel; (False, 0) with nothing written where this pair of files does not allow it."""
        start = storage.start + offset
        is_known = self._by_kernel is True  # else it may turn out that the bytes have to be read here anyway
        summing = _Summing(storage, offset, length) if checksum and is_known else None
        try:
            with storage.source.descriptor() as (source_fd, base):
                done = 0
                while done < length:
                    count = min(_CHUNK, length - done)
                    try:
                        got = os.copy_file_range(
                            source_fd, self.fd, count, base + start + done, self._position
                        )
                    except OSError as error:
                        if done == 0 and error.errno in _NOT_BY_KERNEL:
                            return False, 0
                        raise _cannot_write(self.path, error) from error
                    if got == 0:
                        if done == 0:
                            return False, 0
                        raise DamagedFileError(
                            "the file became shorter while it was copied", path=storage.source.path
                        )
                    if checksum and summing is None:
                        summing = _Summing(storage, offset, length)
                    done += got
                    self._advance(got)
                os.lseek(self.fd, self._position, os.SEEK_SET)
        finally:
            if summing is not None:
                summing.join()
        return True, summing.result() if summing is not None else 0

    def close(self, *, complete: bool = True) -> None:
        """Flush to disk and close; raises TargetError when the disk reports an error."""
        if self.fd < 0:
            return
        fd, self.fd = self.fd, -1
        try:
            try:
                self._catch_up()
            finally:
                if self._is_alone:
                    self._flushing.finish()
            if complete and self._is_alone:
                os.fsync(fd)
            elif complete:
                start_writeback(fd, 0, self._position)
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        finally:
            os.close(fd)

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            with contextlib.suppress(TargetError):
                self.close(complete=False)


class _Writing(threading.Thread):
    """Bytes on their way into a file."""

    def __init__(self, fd: int, data: memoryview, position: int, flushing: Flushing) -> None:
        super().__init__(daemon=True)
        self._fd, self._data, self._at, self._flushing = fd, data, position, flushing
        self.error: OSError | None = None
        self.start()

    def run(self) -> None:
        try:
            _write_at(self._fd, self._data, self._at)
            self._flushing.wrote(self._fd, len(self._data))
        except OSError as error:
            self.error = error
        finally:
            self._data = memoryview(b"")


class _Summing(threading.Thread):
    """The CRC-32 of a window of a file, computed beside the kernel's copy of it."""

    def __init__(self, storage: FileStorage, offset: int, length: int) -> None:
        super().__init__(daemon=True)
        self.storage, self.offset, self.length = storage, offset, length
        self.crc = 0
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            block = memoryview(bytearray(min(BLOCK, self.length)))
            for done in range(0, self.length, BLOCK):
                part = block[: min(BLOCK, self.length - done)]
                self.storage.source.read_into(self.storage.start + self.offset + done, part)
                self.crc = zlib.crc32(part, self.crc)
        except BaseException as error:  # noqa: BLE001  # handed to the thread that waits for the result
            self.error = error

    def result(self) -> int:
        if self.error is not None:
            raise self.error
        return self.crc


def _write_at(fd: int, data: memoryview, position: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done : done + _CHUNK], position + done)


def _cannot_write(path: str, error: OSError) -> TargetError:
    return TargetError(f"cannot be written: {error.strerror or error}", path=path)
