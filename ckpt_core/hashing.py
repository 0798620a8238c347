"""hash: one digest for the same weights, in whatever container they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from ckpt_core.arrays import LazyArray
from ckpt_core.schema import Checkpoint

__all__ = ["hash_array", "hash_weights"]


def hash_array(array: LazyArray) -> str:
    """Return the SHA-256, in hex, of an array's dtype, shape and bytes (C order, little-endian)."""
    digest = hashlib.sha256(f"{array.dtype}{list(array.shape)}\n".encode())
    for tile in array.tiles():
        digest.update(tile)
    return digest.hexdigest()


def hash_weights(ckpt: Checkpoint, progress: Callable[[int, int], None] | None = None) -> str:
    """Return the SHA-256, in hex, of all parameters and buffers.

    It covers, in the order of the names: the name by module path, the dtype, the shape and the bytes. The
    container, the order of keys and everything that is no weight do not count.

    Arguments:
        ckpt: an open checkpoint.
        progress: called with (bytes done, bytes in all).
    """
    leaves = dict(sorted([*ckpt.params.leaves(), *ckpt.buffers.leaves()]))
    total = sum(array.nbytes for array in leaves.values())
    digest = hashlib.sha256()
    done = 0
    for name, array in leaves.items():
        digest.update(f"{name}\0{hash_array(array)}\n".encode("utf-8", "surrogatepass"))
        done += array.nbytes
        if progress is not None:
            progress(done, total)
    return digest.hexdigest()
