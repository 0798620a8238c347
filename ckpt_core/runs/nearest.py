"""Where checkpoints are, when a directory has none: what was looked at, and the nearest directories that have some."""

from __future__ import annotations

import difflib
import itertools
import os
from typing import Final

from ckpt_core.errors import CheckpointNotFoundError
from ckpt_core.paths import roots, search
from ckpt_core.registry import registry
from ckpt_core.runs.scan import scan

__all__ = ["nearest", "nothing_here"]

_LEVELS: Final = 2
_MAX_DIRECTORIES: Final = 200
_MAX_ENTRIES: Final = 2000
_SHOWN: Final = 5


def nothing_here(path: str, given: str | os.PathLike[str]) -> CheckpointNotFoundError:
    """Return the error for a run without checkpoints: where it looked, what is near, and what to do."""
    places = [path] if os.path.isdir(path) else search(given)[1]
    near = nearest(path)
    lines = [f"Looked {'in' if os.path.isdir(path) else 'for'} {', '.join(places)}."]
    if near:
        lines.append(f"Nearest directories that have checkpoints: {', '.join(near)}.")
        lines.append(f"Name one of them: `ckpt ls {near[0]}`.")
    else:
        lines.append(
            "Name a directory in which a training run saved, or save one there: Run(path).save(model, ...)."
        )
    lines += [f"The plugin {broken.plugin} is broken: {broken.reason}" for broken in registry().broken]
    reason = "holds no checkpoint" if os.path.isdir(path) else "no such directory"
    return CheckpointNotFoundError(reason, path=given, remedy="\n  ".join(lines))


def nearest(path: str) -> list[str]:
    """Return directories with checkpoints: beside a path, else one level up, else in the usual places; the likest
    by name first.
    """
    above, bases = os.path.abspath(path), list(map(str, roots()))
    for level in range(_LEVELS):
        above = os.path.dirname(above)
        if os.path.dirname(above) != above:  # not the root of the file system
            bases.insert(level, above)
    name = os.path.basename(path)
    for base in dict.fromkeys(bases):
        found = [
            folder for folder in [*_folders(base), base] if folder != path and _has_checkpoints(folder, base)
        ]
        if found:
            found.sort(key=lambda p: -difflib.SequenceMatcher(None, name, os.path.basename(p)).ratio())
            return found[:_SHOWN]
    return []


def _has_checkpoints(folder: str, base: str) -> bool:
    """Whether there are some in it; of those that the base itself has, only the ones at its top count."""
    for one in itertools.islice(scan(folder, limit=_MAX_ENTRIES), _SHOWN):
        is_at_top = os.sep not in one.name
        if not one.unfinished and one.name != "." and (folder != base or is_at_top):
            return True
    return False


def _folders(base: str) -> list[str]:
    try:
        names = sorted(os.listdir(base))[:_MAX_DIRECTORIES]
    except OSError:
        return []
    paths = [os.path.join(base, name) for name in names if not name.startswith(".")]
    return [path for path in paths if os.path.isdir(path) and not os.path.islink(path)]
