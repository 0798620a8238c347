"""Which kind of Orbax directory a source is.

item        arrays under a tree (`_METADATA`, `manifest.ocdbt`, or the `checkpoint` file of old), a JSON
            value, or a random key
composite   items by name: what `_CHECKPOINT_METADATA` or `orbax.checkpoint` (v1) marks, or a step of old
steps       the root of a CheckpointManager: composites by number
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ckpt_core.errors import CheckpointError, UsageError
from ckpt_core.source import Source

__all__ = [
    "UNCOMMITTED",
    "Step",
    "check_committed",
    "has_aggregate",
    "is_array_directory",
    "is_composite",
    "is_item",
    "is_json_item",
    "is_orbax",
    "item_names",
    "single_step",
    "step_number",
    "steps",
]

UNCOMMITTED: Final = ".orbax-checkpoint-tmp"
"""A part of the names of directories that Orbax has not finished."""

_STEP: Final = re.compile(r"(?:.*_)?(\d{1,18})\Z", re.DOTALL)
_ITEM_MARKS: Final = ("_METADATA", "manifest.ocdbt")
_ROOT_MARKS: Final = ("_CHECKPOINT_METADATA", "orbax.checkpoint")
_KEY_MARKS: Final = ("jax_random_key_metadata", "np_random_key_metadata")
_JSON_MARKS: Final = ("metadata", "metrics")
_MAX_MEMBERS: Final = 1_000_000


class Step(NamedTuple):
    """A step of a CheckpointManager: its number, and the name of its directory."""

    number: int
    name: str


def is_orbax(source: Source) -> bool:
    """Say whether a directory is any kind of Orbax directory."""
    if not source.is_directory:
        return False
    if any(source.has(mark) for mark in (*_ITEM_MARKS, *_ROOT_MARKS)) or UNCOMMITTED in source.name:
        return True
    return has_aggregate(source) or is_array_directory(source) or bool(steps(source)) or is_composite(source)


def check_committed(source: Source) -> None:
    """Raise UsageError when the directory's name says that its save never finished."""
    if UNCOMMITTED in source.name:
        raise UsageError(
            "is an Orbax save that did not finish",
            path=source.path,
            remedy="Open the step before it; Orbax itself ignores directories of this name.",
        )


def is_item(source: Source) -> bool:
    """Say whether a directory is an item by its own marks."""
    return (
        is_tree(source)
        or any(source.has(mark) for mark in _KEY_MARKS)
        or is_json_item(source)
        or is_array_directory(source)
    )


def is_tree(source: Source) -> bool:
    """Say whether it is an item with arrays under a tree."""
    return any(source.has(mark) for mark in _ITEM_MARKS) or has_aggregate(source)


def has_aggregate(source: Source) -> bool:
    """Say whether there is a `checkpoint` file with the tree as msgpack (Orbax before 0.4)."""
    if not source.has("checkpoint"):
        return False
    member = source.member("checkpoint")
    first = member.head[:1]
    return not member.is_directory and (b"\x80" <= first <= b"\x8f" or first in (b"\xde", b"\xdf"))


def is_json_item(source: Source) -> bool:
    """Say whether it is a JSON item: one file, `metadata` or `metrics`."""
    return any(source.has(mark) and not source.member(mark).is_directory for mark in _JSON_MARKS)


def is_array_directory(source: Source) -> bool:
    """Say whether its members are zarr arrays with no word about a tree."""
    names = [name for name in _names(source) if not name.startswith((".", "_"))]
    return bool(names) and all(source.has(f"{n}/.zarray") or source.has(f"{n}/zarr.json") for n in names[:8])


def is_composite(source: Source) -> bool:
    """Say whether a directory holds items under their names, and nothing that is none."""
    if any(source.has(mark) for mark in _ROOT_MARKS):
        return not is_item(source)
    members = [source.member(name) for name in _names(source) if not name.startswith((".", "_"))]
    members = [member for member in members if member.name != "commit_success.txt"]
    trees = [member for member in members if member.is_directory and is_tree(member)]
    return bool(trees) and all(member.is_directory and is_item(member) for member in members)


def item_names(source: Source) -> list[str]:
    """Return the names of a composite's items."""
    members = [source.member(name) for name in _directories(source)]
    return [member.name for member in members if is_item(member) or is_composite(member)]


def steps(source: Source) -> tuple[Step, ...]:
    """Return the finished steps of a CheckpointManager's directory, by number.

    Arguments:
        source: a directory.

    Returns:
        The steps in ascending order; none when the directory is something else.

    Example:
        >>> steps(Source("runs/exp1"))  # doctest: +SKIP
        (Step(number=100, name='100'), Step(number=200, name='200'))
    """
    if not source.is_directory or any(source.has(mark) for mark in (*_ITEM_MARKS, *_ROOT_MARKS)):
        return ()
    found = []
    for name in _directories(source):
        match = _STEP.match(name)
        if match and _is_step(source.member(name)):
            found.append(Step(int(match[1]), name))
    return tuple(sorted(found))


def single_step(source: Source, found: tuple[Step, ...]) -> Source:
    """Return the only step of a CheckpointManager's directory.

    Raises:
        UsageError: there are several; lists them.
    """
    if len(found) == 1:
        return source.member(found[0].name)
    shown = [str(step.number) for step in found]
    listed = ", ".join(shown if len(shown) <= 20 else [*shown[:10], "...", *shown[-9:]])
    raise UsageError(
        f"holds {len(found)} steps: {listed}",
        path=source.path,
        remedy=f"Say which one is meant: step={found[-1].number} (--step {found[-1].number}).",
    )


def step_number(source: Source) -> int | None:
    """Return the number of a step that is opened by itself; None where its name may count something else."""
    match = _STEP.match(source.name)
    is_certain = source.name.isdigit() or (source.has("default") and not is_item(source))
    return int(match[1]) if match and is_certain else None


def _is_step(source: Source) -> bool:
    return any(source.has(mark) for mark in _ROOT_MARKS) or is_item(source) or is_composite(source)


def _names(source: Source) -> tuple[str, ...]:
    names = source.members()
    return names if len(names) <= _MAX_MEMBERS else ()


def _directories(source: Source) -> list[str]:
    """Return the names of finished directories inside, without those that are Orbax's own."""
    found = []
    for name in _names(source):
        if name.startswith((".", "_")) or UNCOMMITTED in name:
            continue
        try:
            if source.member(name).is_directory:
                found.append(name)
        except CheckpointError:  # a link that leads out is no step; opening it by name says why
            continue
    return found
