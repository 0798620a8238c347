"""Duplicates: checkpoints with the same content, found without reading them whole.

Links to one file are the same by definition. Otherwise two checkpoints are compared only when they say the same
step and epoch, and both have an optimizer or neither. Of those a few parts of arrays are read; where these agree too,
all weights are hashed, up to a limit of bytes for one listing. "The same" is never said on a sample alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import CheckpointError
from ckpt_core.hashing import hash_weights
from ckpt_core.opening import open_checkpoint
from ckpt_core.runs.entry import Entry
from ckpt_core.schema import Checkpoint

__all__ = ["LIMIT", "with_duplicates"]

LIMIT: Final = 4 << 30
"""Bytes of weights that one listing hashes to prove that checkpoints are the same."""

_SAMPLED: Final = 8
_SMALL: Final = 1 << 20
_ELEMENTS: Final = 256


def with_duplicates(entries: Sequence[Entry], limit: int = LIMIT) -> tuple[list[Entry], list[str]]:
    """Return the entries, each with the names of those with the same content; and notes on what was not compared.

    Arguments:
        entries: the checkpoints of a run.
        limit: bytes of weights that may be hashed.
    """
    linked = _groups(entries, _file_of)
    alike: list[list[Entry]] = []
    notes: list[str] = []
    for group in _groups([members[0] for members in _all_groups(entries, _file_of)], _counters):
        for sampled in _groups(group, _opened(_sample)):
            size = sum(entry.size for entry in sampled)
            if size > limit:
                notes.append(
                    f"{len(sampled)} checkpoints look alike and were too large to compare: "
                    f"{', '.join(entry.name for entry in sampled[:4])} (`ckpt hash` tells)"
                )
                continue
            limit -= size
            alike += _groups(sampled, _opened(hash_weights))
    return _joined(entries, linked, alike), notes


def _joined(entries: Sequence[Entry], linked: list[list[Entry]], alike: list[list[Entry]]) -> list[Entry]:
    links = {entry.name: [other.name for other in group] for group in linked for entry in group}
    same = {
        name: [found for member in group for found in links.get(member.name, [member.name])]
        for group in alike
        for entry in group
        for name in links.get(entry.name, [entry.name])
    }
    joined = []
    for entry in entries:
        others = tuple(name for name in same.get(entry.name, links.get(entry.name, [])) if name != entry.name)
        ones = tuple(name for name in links.get(entry.name, []) if name != entry.name)
        joined.append(replace(entry, same_as=others, linked=ones) if others else entry)
    return joined


def _groups(entries: Iterable[Entry], key: Callable[[Entry], Hashable | None]) -> list[list[Entry]]:
    """The groups of two and more with one key; entries whose key is None are in none."""
    return [group for group in _all_groups(entries, key) if len(group) > 1]


def _all_groups(entries: Iterable[Entry], key: Callable[[Entry], Hashable | None]) -> list[list[Entry]]:
    found: dict[Hashable, list[Entry]] = {}
    for entry in entries:
        value = key(entry)
        if value is not None:
            found.setdefault(value, []).append(entry)
    return list(found.values())


def _file_of(entry: Entry) -> Hashable | None:
    if not entry.is_whole:
        return None
    try:
        status = os.stat(entry.path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _counters(entry: Entry) -> Hashable:
    inside = [entry.step if entry.sources.get("step") == "inside" else None]
    inside.append(entry.epoch if entry.sources.get("epoch") == "inside" else None)
    return (*inside, entry.has_optimizer)


def _opened(key: Callable[[Checkpoint], str]) -> Callable[[Entry], str | None]:
    def of_entry(entry: Entry) -> str | None:
        try:
            with open_checkpoint(entry.path, verify=False) as ckpt:  # a checksum covers far more than is read
                return key(ckpt)
        except CheckpointError:
            return None

    return of_entry


def _sample(ckpt: Checkpoint) -> str:
    """A digest of the names and shapes of all weights, and of the start, the middle and the end of a few arrays."""
    leaves = sorted(ckpt.params.leaves(), key=lambda pair: pair[0])
    digest = hashlib.sha256(repr([(name, array.shape, array.dtype) for name, array in leaves]).encode())
    for array in _spread(leaves):
        for start in sorted({0, array.size // 2, max(array.size - _ELEMENTS, 0)}):
            digest.update(array.elements(start, min(start + _ELEMENTS, array.size)).tobytes())
    return digest.hexdigest()


def _spread(leaves: Sequence[tuple[str, LazyArray]]) -> list[LazyArray]:
    """A few arrays of which a part costs little: raw in a file, or small; of one with neither, the smallest."""
    arrays = [array for _, array in leaves if array.nbytes]
    cheap = [array for array in arrays if array.nbytes <= _SMALL or array.file_window() is not None]
    chosen = cheap or sorted(arrays, key=lambda array: array.nbytes)[:1]
    return chosen[:: max(len(chosen) // _SAMPLED, 1)][:_SAMPLED]
