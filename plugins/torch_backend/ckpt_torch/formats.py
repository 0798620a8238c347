"""Which of torch's three file formats it is, and torch files that lie as bytes inside of a pickle."""

from __future__ import annotations

import os
import tempfile
from typing import Any, Final

from ckpt_core.backend import Stored
from ckpt_core.errors import LimitError, UnknownFormatError
from ckpt_core.pickles import Blob, Constructor
from ckpt_core.source import Source
from ckpt_torch.archive import open_zip, sniff_zip
from ckpt_torch.constructors import tensor_constructors
from ckpt_torch.legacy import open_legacy, sniff_legacy
from ckpt_torch.tarball import open_tar, sniff_tar
from ckpt_torch.tensors import Tensors

__all__ = ["constructors", "open_torch", "sniff_torch"]

MAX_NESTING: Final = 8
"""Torch files within torch files that are opened."""

_SPOOL: Final = 1 << 40


def sniff_torch(source: Source) -> bool:
    """Say whether it is a torch file of any vintage."""
    return not source.is_directory and (sniff_zip(source) or sniff_legacy(source) or sniff_tar(source))


def open_torch(source: Source, depth: int = 0) -> Stored:
    """Read the structure of a torch file of any vintage, which itself lies in `depth` others.

    Raises:
        UnknownFormatError: it is none.
        DamagedFileError: it contradicts itself.
    """
    embedded = _Embedded(source, depth)
    if sniff_zip(source):
        return open_zip(source, embedded.open, is_embedded=depth > 0)
    if sniff_legacy(source):
        return open_legacy(source, embedded.open)
    if sniff_tar(source):
        return open_tar(source)
    raise UnknownFormatError("is no torch file", path=source.path)


def constructors(source: Source) -> dict[str, Constructor]:
    """Return what a plain pickle of tensors may construct: each storage is a torch file of its own inside of it.

    Example:
        unpickle(source, {**PLAIN, **constructors(source)})
    """
    return tensor_constructors(Tensors(open_bytes=_Embedded(source, 0).open))


class _Embedded:
    """Opens the torch files inside of one."""

    def __init__(self, source: Source, depth: int) -> None:
        self._source = source
        self._depth = depth
        self._known: dict[Any, Any] = {}
        self._spool: Source | None = None
        self._spooled = 0
        self._fd = -1

    def open(self, data: Any) -> Any:
        """Return the tree of a torch file given as bytes; NotImplemented for anything that is none."""
        if isinstance(data, Blob):
            same: Any = data.source, data.start, data.length, data.encoding
        elif isinstance(data, bytes):
            same = data
        else:
            return NotImplemented
        if same not in self._known:  # a pickle may refer to one file very many times
            if isinstance(data, bytes) or data.encoding:
                inner = self._spooled_source(data if isinstance(data, bytes) else data.read())
            else:
                inner = data.source.window(data.start, data.length)
            self._known[same] = self._open(inner)
        return self._known[same]

    def _open(self, source: Source) -> Any:
        if not sniff_torch(source):
            return NotImplemented
        if self._depth >= MAX_NESTING:
            raise LimitError(
                f"torch files are nested deeper than {MAX_NESTING} times", path=self._source.path
            )
        return open_torch(source, self._depth + 1).tree

    def _spooled_source(self, data: bytes) -> Source:
        """Put bytes that lie nowhere as they are into one nameless file; arrays read them from there."""
        if self._spool is None:
            with tempfile.TemporaryFile() as file:
                self._fd = os.dup(file.fileno())
            self._spool = self._source.unlinked(self._fd, _SPOOL)
        start = self._spooled
        os.lseek(self._fd, start, os.SEEK_SET)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._spooled += len(data)
        return self._spool.window(start, len(data))
