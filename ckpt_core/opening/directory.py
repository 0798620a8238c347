"""A directory that no backend claims: a tree of its members, each opened by detection under its file name."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ckpt_core.aliases import moved_below
from ckpt_core.backend import Stored
from ckpt_core.errors import (
    CheckpointError,
    CheckpointNotFoundError,
    DamagedFileError,
    LimitError,
    UnknownFormatError,
    UnsafePathError,
    UsageError,
)
from ckpt_core.layouts.members import (
    is_assembled,
    is_beside,
    is_deepspeed_states,
    is_model_directory,
    is_of_training,
    is_weights_file,
)
from ckpt_core.shards import SUFFIX, foreign_to, is_index, shard_files
from ckpt_core.source import Source
from ckpt_core.tree import KeyPath, walk

__all__ = ["DIRECTORY", "JSON", "Opened", "open_members"]

DIRECTORY: Final = "directory"
"""The format of a directory that no backend claims as a whole."""

JSON: Final = "json"
"""The format of a member that is JSON; a file alone is not opened by it."""

_MAX_MEMBERS: Final = 100_000
_MAX_JSON: Final = 16 << 20
_MAX_CONTAINERS: Final = 200_000
_MAX_VALUES: Final = 500_000
_SHOWN: Final = 5
_NUMBERED: Final = re.compile(r"(.*?)(\d{1,18})((?:\.[A-Za-z]\w*)*)\Z", re.DOTALL)
_PARTS: Final = re.compile(
    r"rank|shard|part|proc|worker|device|host|random|rng|layer|stage|model_\d|optim|of-\d", re.IGNORECASE
)
"""What the number at the end of a name counts where it counts no steps."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A source opened by a backend.

    Arguments:
        stored: what is stored.
        format: the name of the backend, or "directory".
        tied: groups of paths that were tied before a container separated them.
        members: of a directory, the format of each file; one in a directory within it is named by its path.
        broken: of a directory, what is wrong with each part of the checkpoint that cannot be read.
        foreign: of a directory of shards, the entries that are no part of it.
    """

    stored: Stored
    format: str
    tied: tuple[tuple[KeyPath, ...], ...] = ()
    members: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()


def open_members(
    source: Source, open_one: Callable[[Source], Opened], is_claimed: Callable[[Source], bool]
) -> Opened | None:
    """Open a directory as a tree of its members.

    JSON files are read as plain values. A directory is a member where a backend claims it, or where models are
    directories of their own here. What holds no weights by its name and cannot be opened is left out, with a note; so
    are files of no known format.

    Arguments:
        source: the directory.
        open_one: opens a member by detection.
        is_claimed: says whether a backend claims a member.

    Returns:
        The tree, or None when no member is a checkpoint.

    Raises:
        CheckpointError: a member that may hold weights cannot be opened.
    """
    names = [name for name in source.members() if not name.startswith(".")]
    if len(names) > _MAX_MEMBERS:
        raise UnknownFormatError(f"is a directory of {len(names)} entries", path=source.path)
    indexes = _indexes(source, names)
    in_shards = {file.split("/")[0] for files in indexes.values() for file in files}
    members = _Members(is_assembled(names))
    for name in names:
        if name not in in_shards:
            members.add(source, name, open_one, is_claimed)
    found = members.found
    if all(opened.format == JSON for opened in found.values()):
        for error in members.undecided.values():
            raise error
        _ask_for_step(source, members.steps)
        return None
    _check_steps(source, [name for name, opened in found.items() if opened.format != JSON])
    notes = members.about()
    if len(found) == 1 and found.keys() == indexes.keys():
        (alone,) = found.values()
        return replace(_with_notes(alone, notes), foreign=foreign_to(source, source.member(*indexes)))
    inner = {f"{name}/{file}": why for name, opened in found.items() for file, why in opened.broken.items()}
    return replace(_as_tree(found, notes), broken={**members.broken, **inner})


class _Members:
    """What the members of a directory turn out to be, one after another."""

    def __init__(self, is_assembled: bool) -> None:
        self.is_assembled = is_assembled
        self.found: dict[str, Opened] = {}
        self.notes: list[str] = []
        self.others: list[str] = []
        self.steps: list[str] = []
        self.undecided: dict[str, UsageError] = {}
        self.broken: dict[str, str] = {}

    def add(
        self,
        source: Source,
        name: str,
        open_one: Callable[[Source], Opened],
        is_claimed: Callable[[Source], bool],
    ) -> None:
        """Open one member, or keep why it is left out."""
        try:
            member = source.member(name)
            is_other = member.is_directory and not (is_claimed(member) or self._is_model(member))
            opened = None if is_other else _open_member(member, open_one)
        except CheckpointNotFoundError:
            self.notes.append(f"{name}: is a link to nothing")
        except UnsafePathError:
            raise
        except UnknownFormatError as error:
            if is_weights_file(name):
                raise
            self._leave_out(name, error)
        except UsageError as error:  # it is several checkpoints, and somebody has to choose
            self.undecided[name] = error
        except CheckpointError as error:
            if not is_beside(name):
                raise
            self.notes.append(f"{name}: left out, it {error.reason}")
            if isinstance(error, DamagedFileError) and is_of_training(name):
                self.broken[name] = error.reason
        else:
            if opened is not None:
                self.found[name] = opened
            elif is_other:
                self.others.append(f"{name}/")
                self.steps += [name] if any(map(is_deepspeed_states, member.members())) else []
            else:
                self._leave_out(name, DamagedFileError("is empty (0 bytes)"))

    def _is_model(self, member: Source) -> bool:
        return self.is_assembled and is_model_directory(member.name, member.members())

    def _leave_out(self, name: str, error: CheckpointError) -> None:
        """Keep what is wrong with a file of no known format, which need not be a part of the checkpoint."""
        if is_of_training(name):
            self.notes.append(f"{name}: left out, it {error.reason}")
            self.broken[name] = error.reason
        else:
            self.others.append(name)

    def about(self) -> tuple[str, ...]:
        """Return a note for everything that is left out."""
        several = [
            f"{name}: left out, it {error.reason}; open it by itself"
            for name, error in self.undecided.items()
        ]
        return (*self.notes, *several, *_about(self.others))


def _check_steps(source: Source, names: list[str]) -> None:
    """Raise UsageError where the checkpoints differ only in a number at the end: steps of one run, not parts."""
    numbered = [match for match in map(_NUMBERED.match, names) if match]
    numbers = sorted({int(match[2]) for match in numbered})
    stems = {(match[1], match[3]) for match in numbered}
    if len(names) < 2 or len(numbers) < len(names) or len(stems) > 1 or _PARTS.search(names[0]):
        return
    _ask_for_step(source, names)


def _ask_for_step(source: Source, names: list[str]) -> None:
    """Raise UsageError that lists the numbers at the end of names, where there are any."""
    numbers = sorted({int(match[2]) for match in map(_NUMBERED.match, names) if match})
    if not numbers:
        return
    listed = ", ".join(map(str, numbers if len(numbers) <= 20 else [*numbers[:10], "...", *numbers[-9:]]))
    raise UsageError(
        f"holds {len(numbers)} step{'' if len(numbers) == 1 else 's'}: {listed}",
        path=source.path,
        remedy=f"Say which one is meant: step={numbers[-1]} (--step {numbers[-1]}).",
    )


def _indexes(source: Source, names: list[str]) -> dict[str, tuple[str, ...]]:
    """The indexes of shards, each with the files that belong to it."""
    found = {}
    for name in names:
        with contextlib.suppress(CheckpointNotFoundError):  # a link to nothing is told later
            if name.endswith(SUFFIX) and is_index(source.member(name)):
                found[name] = shard_files(source.member(name))
    return found


def _open_member(member: Source, open_one: Callable[[Source], Opened]) -> Opened | None:
    """Open one member; None where it is empty and need not be anything."""
    if not member.is_directory and member.size == 0 and not is_weights_file(member.name):
        return None
    try:
        return open_one(member)
    except UnknownFormatError:
        if not member.name.endswith(".json"):
            raise
    return Opened(Stored(_read_json(member)), JSON)


def _read_json(member: Source) -> Any:
    if member.size > _MAX_JSON:
        raise LimitError(
            f"is JSON of {member.size} bytes, beyond the {_MAX_JSON} that are read", path=member.path
        )
    text = member.read(0, member.size)
    if text.count(b"[") + text.count(b"{") > _MAX_CONTAINERS:  # told before they are built
        raise LimitError(f"is JSON of more than {_MAX_CONTAINERS} lists and objects", path=member.path)
    try:
        value = json.loads(text)
        for count, _ in enumerate(walk(value)):  # nesting that is too deep for a tree is too deep here
            if count == _MAX_VALUES:
                raise LimitError(f"is JSON of more than {_MAX_VALUES} values", path=member.path)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"is no JSON: {error}", path=member.path) from error
    return value


def _about(others: list[str]) -> tuple[str, ...]:
    if not others:
        return ()
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    return (f"not part of it, of no known format: {', '.join(others[:_SHOWN])}{more}",)


def _with_notes(opened: Opened, notes: tuple[str, ...]) -> Opened:
    stored = opened.stored
    return Opened(Stored(stored.tree, stored.attributes, (*stored.notes, *notes)), opened.format, opened.tied)


def _as_tree(found: Mapping[str, Opened], notes: tuple[str, ...]) -> Opened:
    tree = {
        name: opened.stored.tree if opened.format == JSON else moved_below(opened.stored.tree, (name,))
        for name, opened in found.items()
    }
    attributes: dict[str, Any] = {}
    members: dict[str, str] = {}
    for name, opened in found.items():
        if opened.format == DIRECTORY:
            attributes |= {f"{name}/{file}": value for file, value in opened.stored.attributes.items()}
            members |= {f"{name}/{file}": format for file, format in opened.members.items()}
        else:
            attributes |= {name: dict(opened.stored.attributes)} if opened.stored.attributes else {}
            members[name] = opened.format
    inner = [f"{name}: {note}" for name, opened in found.items() for note in opened.stored.notes]
    tied = tuple(
        tuple((name, *path) for path in group) for name, opened in found.items() for group in opened.tied
    )
    return Opened(
        Stored(tree, attributes, (*inner, *notes)),
        DIRECTORY,
        tied,
        members,
    )
