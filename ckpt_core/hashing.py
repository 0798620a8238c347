"""hash: one digest for the same weights, in whatever container they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

from ckpt_core.arrays import LazyArray
from ckpt_core.schema import Checkpoint

__all__ = ["combined_hash", "hash_array", "hash_leaves", "hash_weights"]


def hash_array(array: LazyArray) -> str:
    """Return the SHA-256, in hex, of an array's dtype, shape and bytes (C order, little-endian)."""
    digest = hashlib.sha256(f"{array.dtype}{list(array.shape)}\n".encode())
    for tile in array.tiles():
        digest.update(tile)
    return digest.hexdigest()


def hash_leaves(
    ckpt: Checkpoint, progress: Callable[[int, int], None] | None = None
) -> list[tuple[str, str]]:
    """Return (name, SHA-256 in hex) of every parameter and buffer, in the order of the names.

    Arguments:
        ckpt: an open checkpoint.
        progress: called with (bytes done, bytes in all).
    """
    leaves = sorted([*ckpt.params.leaves(), *ckpt.buffers.leaves()], key=lambda pair: pair[0])
    total = sum(array.nbytes for _, array in leaves)
    done = 0
    hashed = []
    for name, array in leaves:
        hashed.append((name, hash_array(array)))
        done += array.nbytes
        if progress is not None:
            progress(done, total)
    return hashed


def combined_hash(hashed: Iterable[tuple[str, str]]) -> str:
    """Return the SHA-256, in hex, of the lines `name NUL digest` of all leaves."""
    digest = hashlib.sha256()
    for name, one in hashed:
        digest.update(f"{name}\0{one}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def hash_weights(ckpt: Checkpoint, progress: Callable[[int, int], None] | None = None) -> str:
    """Return the SHA-256, in hex, of all parameters and buffers.

    It covers, in the order of the names: the name by module path, the dtype, the shape and the bytes. The
    container, the order of keys and everything that is no weight do not count.

    Arguments:
        ckpt: an open checkpoint.
        progress: called with (bytes done, bytes in all).
    """
    return combined_hash(hash_leaves(ckpt, progress))
