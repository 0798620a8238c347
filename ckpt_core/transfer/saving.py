"""Writing what was transferred: arranged for its framework, and hashed as it passes by."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Backend, Stored
from ckpt_core.errors import UnknownFormatError, UsageError
from ckpt_core.framework import Template
from ckpt_core.hashing import hash_array
from ckpt_core.storage import BLOCK
from ckpt_core.transfer.receipt import Receipt
from ckpt_core.transfer.sides import arranged
from ckpt_core.tree import map_with_path
from ckpt_core.writing import Progress, target_backend, write

__all__ = ["Saving", "save_arrays"]

_KINDS: Final = {"flax": ("flax", "orbax"), "nnx": ("flax", "orbax"), "torch": ("torch", "torch")}
"""For each arrangement, the framework that it is of, and the format where a path does not say which."""


@dataclass(frozen=True)
class Saving:
    """How a result is written; see `Transferred.save`."""

    to: str | None = None
    force: bool = False
    strict: bool = False
    progress: Progress | None = None


def save_arrays(
    tree: Any,
    arrays: Mapping[str, LazyArray],
    template: Template,
    receipt: Receipt,
    path: str | os.PathLike[str],
    how: Saving,
    training: Mapping[str, Any] = MappingProxyType({}),
) -> Receipt:
    """Write a filled tree; returns the receipt with digests, and with what the format could not hold.

    Arguments:
        tree, arrays, template, receipt: those of the result.
        path, how: where, and how.
        training: free metadata of a training state; a tree that has one is arranged already.
    """
    backend = _backend(path, how.to)
    if how.to in _KINDS:
        framework = _KINDS[how.to][0]
        if template.framework not in ("", framework):
            raise UsageError(
                f"{template.title} has the names of {template.framework}, not of {framework}",
                remedy="`like` says what is filled: give a model or a template of the other framework.",
            )
        tree = tree if training else arranged(template, arrays, how.to)
    label = {"torch": "pt"}.get(template.framework, template.framework)
    attributes = dict(training) | ({backend.framework_key: label} if backend.framework_key and label else {})
    hashed = {id(array): _Hashed(array) for array in arrays.values()}
    watched = map_with_path(lambda _, leaf: hashed.get(id(leaf), leaf), tree)
    fitted = write(
        Stored(watched, attributes), path, backend, strict=how.strict, force=how.force, progress=how.progress
    )
    digests = {name: hashed[id(array)].digest or hash_array(array) for name, array in arrays.items()}
    lost = tuple(f"lost: {loss}" for loss in fitted.losses)
    rows = tuple(replace(row, sha256=digests.get(row.name, "")) for row in receipt.filled)
    return replace(receipt, filled=rows, notes=(*receipt.notes, *fitted.notes, *lost))


def _backend(path: str | os.PathLike[str], to: str | None) -> Backend:
    if to not in _KINDS:
        return target_backend(path, to)
    try:
        return target_backend(path, None)
    except UnknownFormatError:
        return target_backend(path, _KINDS[to][1])


class _Hashed(LazyArray):
    """An array whose bytes are hashed while a writer passes over its tiles, as `hash_array` does.

    `digest` stays "" where a writer takes the bytes another way (the kernel copies them).
    """

    __slots__ = ("digest",)

    def __init__(self, array: LazyArray) -> None:
        self.shape, self.dtype, self.pieces = array.shape, array.dtype, array.pieces
        self.digest = ""

    def tiles(self, nbytes: int | None = None) -> Iterator[memoryview]:
        digest = hashlib.sha256(f"{self.dtype}{list(self.shape)}\n".encode())
        with _Beside() as beside:
            for tile in super().tiles(nbytes):
                beside.run(digest.update, tile)
                yield tile
        self.digest = digest.hexdigest()


class _Beside:
    """One thread that does one thing while the caller goes on; small things are done at once."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def run(self, function: Callable[[memoryview], None], data: memoryview) -> None:
        self._wait()
        if len(data) < BLOCK:
            function(data)
            return
        self._thread = threading.Thread(target=function, args=(data,), daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> _Beside:
        return self

    def __exit__(self, *_: object) -> None:
        self._wait()
