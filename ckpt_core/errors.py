"""Every error that ckpt_core raises on purpose.

CheckpointError                 the one root; carries path, place, reason, remedy
|-- CheckpointNotFoundError     there is no such file or directory (also a FileNotFoundError)
|-- UnknownFormatError          no backend claims it; says what each one looked for
|-- AmbiguousFormatError        two backends or plugins claim it; names both
|-- MissingDependencyError      the format is known, a library it needs is not installed (also an ImportError)
|-- BrokenPluginError           a plugin failed to load or broke its contract
|-- DamagedFileError            the bytes contradict themselves: truncated, corrupt or hostile
|   `-- LimitError              a declared size or depth is beyond the documented caps
|-- UnsafePathError             a link, a member name or a special file leads out of the checkpoint
|-- UnsupportedError            understood, and not something this reader or writer can do
|-- MismatchError               a checkpoint does not fit a model; carries the report of every difference
|-- PlanError                   a transfer plan does not fit its source and target; carries every problem
|-- ConfigConflictError         a config contradicts the shapes of the weights; carries the conflicts
|   `-- DataConflictError       the data contradicts the checkpoint
|-- LossError                   strict conversion: the target cannot hold what the report names
|-- DeviceMemoryError           a device has too little memory for what was to be put there (also a MemoryError)
|-- TargetError                 the target exists, cannot be written, or cannot be replaced
|-- ClosedError                 bytes were asked for after the checkpoint was closed
`-- UsageError                  arguments that cannot be meant (also a ValueError)
"""

from __future__ import annotations

import os
from typing import Any, ClassVar, Final

__all__ = [
    "AmbiguousFormatError",
    "BrokenPluginError",
    "CheckpointError",
    "CheckpointNotFoundError",
    "ClosedError",
    "ConfigConflictError",
    "DamagedFileError",
    "DataConflictError",
    "DeviceMemoryError",
    "LimitError",
    "LossError",
    "MismatchError",
    "MissingDependencyError",
    "PlanError",
    "TargetError",
    "UnknownFormatError",
    "UnsafePathError",
    "UnsupportedError",
    "UsageError",
]


_MAX_TEXT: Final = 4096
"""Characters of a path, a place or a reason that are printed."""


class CheckpointError(Exception):
    """The root of the family: one sentence made of typed fields.

    Arguments:
        reason: what is wrong, as a clause.
        path: the file or directory concerned.
        place: where in it: a member, a byte offset, a key path.
        remedy: what to do about it, as a sentence; that of the class where none is given.
    """

    usual_remedy: ClassVar[str | None] = None

    def __init__(
        self,
        reason: str,
        *,
        path: str | os.PathLike[str] | None = None,
        place: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.reason = reason
        self.path = None if path is None else os.fspath(path)
        self.place = place
        self.remedy = self.usual_remedy if remedy is None else remedy
        super().__init__(reason)

    def __str__(self) -> str:
        where = ": ".join(filter(None, (_shortened(self.path), _shortened(self.place))))
        text = f"{where}: {_shortened(self.reason)}" if where else _shortened(self.reason)
        return f"{text}\n  {self.remedy}" if self.remedy else text

    def located(self, path: str | os.PathLike[str], place: str | None = None) -> CheckpointError:
        """Fill in the path, and the place, where they are not known yet; returns the error itself."""
        if self.path is None:
            self.path = os.fspath(path)
        if self.place is None:
            self.place = place
        return self


def _shortened(text: str | None) -> str:
    """A file chooses its names, and may choose very long ones."""
    if text is None or len(text) <= _MAX_TEXT:
        return text or ""
    return f"{text[: _MAX_TEXT // 2]} ... {text[-_MAX_TEXT // 4 :]}"


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no such file or directory."""


class UnknownFormatError(CheckpointError):
    """No backend claims the file."""


class AmbiguousFormatError(CheckpointError):
    """Two backends claim one file, or two plugins one name."""


class MissingDependencyError(CheckpointError, ImportError):
    """The format is known, and a library that it needs is not installed."""


class BrokenPluginError(CheckpointError):
    """A plugin failed to load, or a backend broke its contract."""


class DamagedFileError(CheckpointError):
    """The bytes contradict themselves: truncated, corrupt or hostile."""

    usual_remedy: ClassVar[str | None] = "The file is truncated or damaged; fetch it again."


class LimitError(DamagedFileError):
    """A declared size, count or depth is beyond the documented caps."""

    usual_remedy = None


class UnsafePathError(CheckpointError):
    """A link, a member name or a special file leads out of the checkpoint."""


class UnsupportedError(CheckpointError):
    """Understood, and not something that this reader or writer can do."""


class MismatchError(CheckpointError):
    """A checkpoint does not fit a model.

    Arguments:
        report: every difference, as `validate` returns it.
    """

    def __init__(self, reason: str, report: Any, **where: Any) -> None:
        super().__init__(reason, **where)
        self.report = report


class PlanError(CheckpointError):
    """A transfer plan does not fit its source and target.

    Arguments:
        problems: everything that does not fit, as `Problem`s.
    """

    def __init__(self, reason: str, problems: tuple[Any, ...], **where: Any) -> None:
        super().__init__(reason, **where)
        self.problems = problems


class ConfigConflictError(CheckpointError):
    """A config contradicts the shapes of the weights.

    Arguments:
        conflicts: each equation that does not hold, with both sides.
        corrected: the config with the values that the equations give; None where they give none.
    """

    def __init__(
        self, reason: str, conflicts: tuple[Any, ...], *, corrected: Any = None, **where: Any
    ) -> None:
        super().__init__(reason, **where)
        self.conflicts = conflicts
        self.corrected = corrected


class DataConflictError(ConfigConflictError):
    """The data contradicts the checkpoint."""


class LossError(CheckpointError):
    """A strict conversion met something that the target cannot hold."""


class DeviceMemoryError(CheckpointError, MemoryError):
    """A device has too little memory for what was to be put there."""


class TargetError(CheckpointError):
    """The target exists already, cannot be written, or cannot be replaced."""


class ClosedError(CheckpointError):
    """Bytes were asked for after the checkpoint was closed."""


class UsageError(CheckpointError, ValueError):
    """Arguments that cannot be meant."""
