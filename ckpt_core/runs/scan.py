"""Scanning: which files and directories of a run are checkpoints, and which are what a crash or a copy left behind.

A directory is one checkpoint when a backend claims it as a whole, or when its members are the parts of one (weights
beside an optimizer, a tokenizer, a trainer's state); a directory of steps is not, and is gone through. Nothing is
read but the first bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ckpt_core.backend import Backend
from ckpt_core.compression import compression_of
from ckpt_core.errors import CheckpointError
from ckpt_core.layouts.members import (
    is_assembled,
    is_beside,
    is_deepspeed_states,
    is_model_directory,
    is_saved_state,
    weights_rank,
)
from ckpt_core.registry import registry
from ckpt_core.runs.names import facts_of_name
from ckpt_core.source import Source

__all__ = [
    "Found",
    "has_checkpoint_name",
    "is_one_checkpoint",
    "scan",
    "sounds_like_checkpoint",
    "unfinished_reason",
]

_DEPTH: Final = 6
_MAX_ENTRIES: Final = 100_000

_OWN: Final = (".pt", ".pth", ".ckpt", ".safetensors", ".msgpack", ".eqx", ".pth.tar", ".pt.tar", ".ckpt.tar")
"""Suffixes of checkpoints: a file of such a name that nothing can read is shown as damaged."""

_SHARED: Final = (".bin", ".pkl", ".pickle", ".joblib", ".tar", ".npz", ".h5")
"""Suffixes that other files have as well: of those that nothing can read, a counter or a role in the name decides."""

_COMPRESSED: Final = re.compile(r"\.(gz|bz2|xz|lzma|zst|lz4)$")

_SKIPPED: Final = frozenset(
    {"__pycache__", "node_modules", "wandb", "tensorboard", "mlruns", "site-packages"}
)

_WORDS: Final = re.compile(
    r"(?<![A-Za-z])(checkpoints?|ckpts?|chkpt|models?|weights|snapshots?|states?|epochs?|ep|(global[_-]?)?steps?|"
    r"iter(ation)?s?)(?![A-Za-z])",
    re.IGNORECASE,
)
"""Words in the names of checkpoints."""

_UNFINISHED: Final = (
    (re.compile(r"\.orbax-checkpoint-tmp(-\d+)?(\.|$)"), "an Orbax save that did not finish"),
    (
        re.compile(r"^\..*\.[0-9a-f]{12}\.ckpt-tmp$"),
        "left by a writer that was stopped; the next write removes it",
    ),
)
"""What the writers of checkpoints leave behind."""

_PASSING: Final = (
    (re.compile(r"\.(part|crdownload|incomplete|aria2|download)$"), "a download that is not finished"),
    (re.compile(r"\.(tmp|temp|partial)$|^(tmp|temp)[_\-.]"), "a temporary file of a writer"),
)
"""What any program may leave behind; the rest of the name says whether it was to be a checkpoint."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something that is a checkpoint, or the remains of one.

    Arguments:
        path: where it is, as an absolute path.
        name: the path inside the run's directory.
        unfinished: why it is no checkpoint yet, or "".
    """

    path: str
    name: str
    unfinished: str = ""


def scan(folder: str, limit: int = _MAX_ENTRIES, notes: list[str] | None = None) -> Iterator[Found]:
    """Yield the checkpoints below a directory, those of a directory in the order of their names; "." is itself.

    A directory is gone through once, under its own name where a link beside it leads there, too. Names that begin
    with a dot are passed over, but for the leftovers of writers; so are more than six levels, and what is no
    checkpoint by its first bytes and its name.

    Arguments:
        folder: an absolute path.
        limit: how many names are looked at.
        notes: gets a sentence when there are more.
    """
    asked = limit
    seen: set[str] = set()
    stack = [("", 0)]
    while stack and limit > 0:
        inside, depth = stack.pop()
        here = os.path.join(folder, inside) if inside else folder
        is_one = is_one_checkpoint(here)
        if is_one:  # a link to one that was listed, too: it may be how the best is marked
            yield Found(here, inside or ".")
        real = os.path.realpath(here)
        if real in seen:
            continue
        seen.add(real)
        names = _names(here)[:limit]
        limit -= len(names)
        if is_one:
            # A trainer saves its final model beside its steps; what else lies in a checkpoint is a part of it.
            holds_steps = _is_of_parts(names) or _is_of_models(here, names)
            names = [name for name in names if _is_step(here, name)] if holds_steps else []
        for name in names:
            if (not is_one and not os.path.isdir(os.path.join(here, name))) or unfinished_reason(name):
                yield from _found(os.path.join(here, name), os.path.join(inside, name))
        below = [name for name in names if _is_gone_through(os.path.join(here, name))]
        below.sort(key=lambda name: os.path.islink(os.path.join(here, name)))
        if depth < _DEPTH:
            stack += [(os.path.join(inside, name), depth + 1) for name in reversed(below)]
    if limit <= 0 and notes is not None:
        notes.append(f"only the first {asked:,} names were looked at; name a directory further down")


def _found(path: str, name: str) -> Iterator[Found]:
    """What a file is, or what a leftover of either kind is."""
    base = os.path.basename(path)
    reason = unfinished_reason(base)
    if reason:
        yield Found(path, name, reason)
    elif base.startswith("."):
        return
    elif os.path.isfile(path):
        if _is_candidate(path):
            yield Found(path, name)
    elif os.path.islink(path) and has_checkpoint_name(base):
        yield Found(path, name, "a link to a device" if os.path.exists(path) else "a link to nothing")


def _is_gone_through(path: str) -> bool:
    name = os.path.basename(path)
    return os.path.isdir(path) and not (name.startswith(".") or name in _SKIPPED or unfinished_reason(name))


def unfinished_reason(name: str) -> str:
    """Say why a name is that of a checkpoint that is unfinished; "" for any other name."""
    own = next((reason for pattern, reason in _UNFINISHED if pattern.search(name)), "")
    passing = (
        reason
        for pattern, reason in _PASSING
        if pattern.search(name) and sounds_like_checkpoint(pattern.sub("", name))
    )
    return own or next(passing, "")


def is_one_checkpoint(path: str) -> bool:
    """Say whether a path is one checkpoint: a file that a backend claims, or a directory that is one as a whole."""
    if not os.path.isdir(path):
        return os.path.isfile(path) and _is_candidate(path)
    names = _names(path)
    return (
        _is_of_parts(names)
        or _is_of_models(path, names)
        or (_is_claimed(path) and not any(_is_step(path, name) for name in names))
    )


def _is_of_parts(names: Sequence[str]) -> bool:
    """Say whether a directory's files are the parts of one checkpoint: weights beside what belongs to them."""
    has_weights = any(weights_rank(name) is not None for name in names)
    is_whole = (has_weights and any(map(is_beside, names))) or is_saved_state(names)
    return is_whole or any(map(is_deepspeed_states, names))


def _is_of_models(path: str, names: Sequence[str]) -> bool:
    """Say whether a directory is one checkpoint of models that have directories of their own within it."""
    return is_assembled(names) and any(
        is_model_directory(name, _names(os.path.join(path, name)))
        for name in names
        if os.path.isdir(os.path.join(path, name))
    )


def _is_step(folder: str, name: str) -> bool:
    """Say whether a member is a step of its own: a directory with a counter or a role in its name, and that is one."""
    if name.startswith("ocdbt.process_"):  # a part of one Orbax directory, which looks like one itself
        return False
    path = os.path.join(folder, name)
    return _is_numbered(name) and os.path.isdir(path) and is_one_checkpoint(path)


def _is_numbered(name: str) -> bool:
    facts = facts_of_name(name)
    return (facts.epoch, facts.step, facts.number) != (None, None, None) or facts.role != "periodic"


def has_checkpoint_name(name: str) -> bool:
    """Say whether a file has a name that only checkpoints have."""
    bare = _COMPRESSED.sub("", name.lower())
    if bare.endswith(_OWN):
        return True
    return bare.endswith(_SHARED) and _is_numbered(name)


def sounds_like_checkpoint(name: str) -> bool:
    """Say whether a name may be a checkpoint's: by its suffix, or by a word."""
    bare = _COMPRESSED.sub("", name.lower())
    return bare.endswith((*_OWN, *_SHARED)) or _WORDS.search(name) is not None


def _is_candidate(path: str) -> bool:
    return has_checkpoint_name(os.path.basename(path)) or _is_claimed(path)


def _is_claimed(path: str) -> bool:
    try:
        with Source(path) as source:
            if not source.is_directory and (source.size == 0 or compression_of(source)):
                return False
            return any(_sniffs(backend, source) for _, backend in registry().backends)
    except CheckpointError:
        return False


def _sniffs(backend: Backend, source: Source) -> bool:
    try:
        return backend.sniff(source)
    except Exception:  # noqa: BLE001  # a stranger's sniffer; opening the file tells what it said
        return False


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
