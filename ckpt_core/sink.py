"""Sink: a target that appears whole under its name, or not at all.

Everything is written beside the target under `.NAME.TOKEN.ckpt-tmp`, flushed to disk, and renamed. A file
replaces a file by rename; where a directory is involved the two are exchanged in one step and the old one is
removed afterwards. A writer holds a lock on what it builds; the next one removes what nobody holds.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from typing import Final

from ckpt_core.durable import Flushing, sync_directory, sync_file, sync_filesystem
from ckpt_core.errors import TargetError, UnsafePathError, UsageError
from ckpt_core.writer import FileWriter, Progress

__all__ = ["Sink", "clear_leftovers", "link_target", "remove_target"]

_SUFFIX: Final = ".ckpt-tmp"
_NOREPLACE: Final = 1
_EXCHANGE: Final = 2
_MANY: Final = 32
"""Files from which on one flush of the file system is faster than one flush per file."""


class Sink:
    """Where a backend writes.

    Arguments:
        target: the file or directory to make.
        force: replace what stands there.
        progress: called with the number of bytes after each step.

    Raises:
        TargetError: the target exists and `force` is not set, or is a device or the like; or its directory is
            missing or not writable.

    Example:
        with Sink("out.bin") as sink:
            with sink.file() as file:
                file.write(b"...")
    """

    def __init__(
        self, target: str | os.PathLike[str], *, force: bool = False, progress: Progress | None = None
    ) -> None:
        self.target = os.path.abspath(os.fspath(target))
        self.force = force
        self._progress = progress
        self._parent, self._name = os.path.split(self.target)
        self._building: str | None = None
        self._lock = -1
        self._is_directory = False
        self._flushing = Flushing()
        if not os.path.isdir(self._parent):
            raise TargetError("there is no such directory to write into", path=self._parent)
        _check_existing(self.target, force)
        clear_leftovers(self.target)

    @property
    def name(self) -> str:
        """The last part of the target's path."""
        return self._name

    # What backends call.

    def file(self, name: str | None = None) -> FileWriter:
        """Start a file: the target itself, or with a relative `name` a file in the target directory.

        Raises:
            UnsafePathError: the name leads out of the directory.
            TargetError: the system refuses.
        """
        if name is None:
            if self._building is not None:
                raise UsageError("a single-file target is one file", path=self.target)
            self._building = self._temporary()
            writer = FileWriter(self._building, self._progress)
            self._hold(writer.fd)
            return writer
        parts = name.split("/")
        if "\0" in name or any(part in ("", ".", "..") for part in parts):
            raise UnsafePathError(f"file name {name[:200]!r} leads out of the directory", path=self.target)
        base = self.directory()
        if len(parts) > 1:
            with _refusals(self.target):
                os.makedirs(os.path.join(base, *parts[:-1]), exist_ok=True)
        return FileWriter(os.path.join(base, *parts), self._progress, self._flushing)

    def directory(self, name: str | None = None) -> str:
        """Make the target a directory and return the path at which it is built, or that of one inside it.

        This is for empty directories and for libraries that write by themselves; what they wrote is flushed
        to disk when the sink commits.
        """
        if self._building is None:
            self._building = self._temporary()
            self._is_directory = True
            with _refusals(self.target):
                os.mkdir(self._building)
                fd = os.open(self._building, os.O_RDONLY)
            try:
                self._hold(fd)
            finally:
                os.close(fd)
        if not self._is_directory:
            raise UsageError("a single-file target is one file", path=self.target)
        if name is None:
            return self._building
        path = os.path.join(self._building, *name.split("/"))
        with _refusals(self.target):
            os.makedirs(path, exist_ok=True)
        return path

    # What core calls.

    def commit(self) -> None:
        """Flush everything to disk and let it appear under the target's name."""
        if self._building is None:
            raise UsageError("nothing was written", path=self.target)
        building = self._building
        with _refusals(self.target):
            if self._is_directory:
                self._flushing.finish()
                _sync_tree(building)
            old = self._rename(building)
            sync_directory(self._parent)
        self._building = None
        self._release()
        if old is not None:
            _remove(old)

    def abort(self) -> None:
        """Remove what was built; the old target, if any, is as it was."""
        with contextlib.suppress(OSError):
            self._flushing.finish()
        if self._building is not None:
            _remove(self._building)
            self._building = None
        self._release()

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if kind is not None:
            if (
                isinstance(error, TargetError)
                and self._building
                and (error.path or "").startswith(self._building)
            ):
                error.path = self.target  # the temporary name means nothing to a reader
            self.abort()
            return
        try:
            self.commit()
        except BaseException:
            self.abort()
            raise

    # Steps.

    def _temporary(self) -> str:
        return os.path.join(self._parent, _temporary_name(self._name))

    def _hold(self, fd: int) -> None:
        self._lock = os.dup(fd)
        _try_lock(self._lock)

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _rename(self, building: str) -> str | None:
        """Move the new target into place; returns the path of an old one that is to be removed."""
        try:
            existing = os.lstat(self.target)
        except FileNotFoundError:
            existing = None
        if existing is None or not self.force:
            if not _rename_flags(building, self.target, _NOREPLACE):
                if os.path.lexists(self.target):
                    raise TargetError("appeared while it was written", path=self.target)
                os.rename(building, self.target)
            return None
        if not self._is_directory and not stat.S_ISDIR(existing.st_mode):
            os.replace(building, self.target)
            return None
        if not _rename_flags(building, self.target, _EXCHANGE):
            raise TargetError(
                "this system cannot exchange directories in one step",
                path=self.target,
                remedy="Remove the old target, or write to another name.",
            )
        return building


def _check_existing(target: str, force: bool) -> None:
    """Raise TargetError where something stands under the target's name that is not to be replaced."""
    try:
        mode = os.lstat(target).st_mode
    except OSError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
        raise TargetError(
            "is neither a regular file nor a directory, and is not replaced",
            path=target,
            remedy="Write to another name.",
        )
    if not force:
        raise TargetError("exists already", path=target, remedy="Pass force=True (--force) to replace it.")


def clear_leftovers(target: str) -> None:
    """Remove what killed writers of this target left beside it."""
    parent, name = os.path.split(os.path.abspath(target))
    short = _short(name)
    try:
        entries = os.listdir(parent)
    except OSError:
        return
    for entry in entries:
        token = entry[len(short) + 2 : -len(_SUFFIX)]
        if (
            entry == f".{short}.{token}{_SUFFIX}"
            and len(token) == 12
            and set(token) <= set("0123456789abcdef")
        ):
            _remove_unless_held(os.path.join(parent, entry))


def remove_target(path: str) -> None:
    """Remove a file or a directory so that no reader ever finds a part of it under its name.

    A directory is renamed aside first; what a killed process leaves under the temporary name is cleared by the
    next writer of that target.

    Raises:
        TargetError: the system refuses.
    """
    parent, name = os.path.split(os.path.abspath(path))
    with _refusals(path):
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
        else:
            aside = os.path.join(parent, _temporary_name(name))
            os.rename(path, aside)
            sync_directory(parent)
            _remove(aside)
        sync_directory(parent)


def link_target(path: str, target: str) -> bool:
    """Give a file a second name, atomically, in place of what stood there; False where this system has no links.

    Writers replace files and never change them, so that the second name keeps what the first one had.
    """
    parent, name = os.path.split(os.path.abspath(target))
    aside = os.path.join(parent, _temporary_name(name))
    try:
        os.link(path, aside)
    except OSError:  # another file system, a directory, or no links at all
        return False
    with _refusals(target):
        os.replace(aside, target)
        with contextlib.suppress(FileNotFoundError):  # renaming onto a link to the same file does nothing
            os.unlink(aside)
        sync_directory(parent)
    return True


def _temporary_name(name: str) -> str:
    return f".{_short(name)}.{secrets.token_hex(6)}{_SUFFIX}"


def _short(name: str) -> str:
    """What fits of a name into a longer one; names of files need not be UTF-8."""
    return os.fsencode(name)[:200].decode(errors="ignore")


def _remove_unless_held(path: str) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return
    try:
        if _try_lock(fd):
            _remove(path)
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows reads only
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
    return True


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _rename_flags(old: str, new: str, flags: int) -> bool:
    """Rename with flags; False where the system or the file system has no such call."""
    if sys.platform == "linux":
        call, arguments = "renameat2", (-100, os.fsencode(old), -100, os.fsencode(new), flags)
    elif sys.platform == "darwin":  # RENAME_SWAP is 2 and RENAME_EXCL is 4 there
        call, arguments = (
            "renamex_np",
            (os.fsencode(old), os.fsencode(new), {_NOREPLACE: 4, _EXCHANGE: 2}[flags]),
        )
    else:
        return False
    function = getattr(ctypes.CDLL(None, use_errno=True), call, None)
    if function is None:
        return False
    if function(*arguments) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP):
        return False
    if number == errno.EEXIST:
        raise TargetError("appeared while it was written", path=new)
    raise OSError(number, os.strerror(number), new)


def _sync_tree(path: str) -> None:
    """Flush a directory and all files in it; of many files, the whole file system at once."""
    folders = list(os.walk(path, topdown=False))
    if sum(len(names) for _, _, names in folders) > _MANY:
        fd = os.open(path, os.O_RDONLY)
        try:
            if sync_filesystem(fd):
                return
        finally:
            os.close(fd)
    for folder, _, names in folders:
        for name in names:
            sync_file(os.path.join(folder, name))
        sync_directory(folder)


@contextlib.contextmanager
def _refusals(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, TargetError):
            raise
        raise TargetError(f"cannot be written: {error.strerror or error}", path=path) from error
