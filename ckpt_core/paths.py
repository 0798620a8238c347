"""Where a relative path is looked for, the same way in every call and command.

A relative path is tried in the working directory, in the directories that `$CKPT_ROOT` lists, and on Kaggle in its
working directory, its input directory and each data set in that. What is written goes to the working directory alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ckpt_core.errors import CheckpointNotFoundError

__all__ = ["KAGGLE", "ROOT_VARIABLE", "found", "roots", "search"]

ROOT_VARIABLE: Final = "CKPT_ROOT"
KAGGLE: Final = Path("/kaggle")
"""Where Kaggle mounts `working` and `input`."""

_KAGGLE_VARIABLES: Final = ("KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_URL_BASE")
"""Set by Kaggle in every notebook, interactive or committed."""

_MAX_DATA_SETS: Final = 1000
_MAX_NAMES: Final = 10_000
_MAX_NAME: Final = 255
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def roots(environ: Mapping[str, str] | None = None, kaggle: Path | None = None) -> list[Path]:
    """Return the directories in which a relative path is looked for, in order.

    Arguments:
        environ: the environment; that of the process by default.
        kaggle: where Kaggle's directories are mounted.
    """
    environ = os.environ if environ is None else environ
    kaggle = KAGGLE if kaggle is None else kaggle
    listed = environ.get(ROOT_VARIABLE, "").split(os.pathsep)
    candidates = [Path.cwd(), *(Path(name).expanduser().absolute() for name in listed if name)]
    if any(name in environ for name in _KAGGLE_VARIABLES):
        candidates += [kaggle / "working", kaggle / "input", *_directories(kaggle / "input")]
    return list(dict.fromkeys(candidates))


def search(path: str | os.PathLike[str]) -> tuple[str | None, list[str]]:
    """Look for a path; return where it is as an absolute path, or None, and every place that was looked at."""
    path = os.path.expanduser(os.fspath(path))
    if os.path.isabs(path):
        places = [path]
    else:
        places = [os.path.normpath(os.path.join(root, path)) for root in roots()]
    return next((place for place in places if os.path.lexists(place)), None), places


def found(path: str | os.PathLike[str]) -> str:
    """Return the absolute path of something that exists.

    Arguments:
        path: absolute, or relative to one of `roots()`; `~` is the home directory.

    Raises:
        CheckpointNotFoundError: it is in none of them; lists where it was looked for, and a name like it.

    Example:
        >>> found("no/such/file.pth")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ckpt_core.errors.CheckpointNotFoundError: no/such/file.pth: no such file or directory
          Looked at .../no/such/file.pth. Directories in $CKPT_ROOT are looked in, too.
    """
    name = os.fspath(path)
    if not name:
        raise CheckpointNotFoundError("an empty path names no checkpoint", remedy="Is a variable not set?")
    if _ADDRESS.match(name):
        raise CheckpointNotFoundError(
            "is an address, not the path of a file", path=name, remedy="Download it, and name the file."
        )
    place, places = search(path)
    if place is not None and os.path.islink(place) and not os.path.exists(place):
        target = os.path.realpath(place)
        raise CheckpointNotFoundError("is a link to nothing", path=place, remedy=f"It leads to {target}.")
    if place is not None:
        return place
    if name == "-":
        raise CheckpointNotFoundError(
            "standard input is no checkpoint: it is read by position",
            path=name,
            remedy="Save it to a file, and name the file.",
        )
    shown = ", ".join(places[:6]) + (f" and {len(places) - 6} more" if len(places) > 6 else "")
    is_hint = not os.path.isabs(os.path.expanduser(name)) and not os.environ.get(ROOT_VARIABLE)
    hint = f" Directories in ${ROOT_VARIABLE} are looked in, too." if is_hint else ""
    near = _near(places[0])
    meant = f" Did you mean {near}?" if near else ""
    raise CheckpointNotFoundError(
        "no such file or directory", path=name, remedy=f"Looked at {shown}.{meant or hint}"
    )


def _near(place: str) -> str | None:
    """Return what stands beside a path that is not there under a name that is nearly the same."""
    import difflib  # only where something is wrong

    folder, name = os.path.split(place)
    try:
        names = os.listdir(folder)
    except (OSError, ValueError):
        return None
    if len(name) > _MAX_NAME or len(names) > _MAX_NAMES:
        return None
    return next((os.path.join(folder, near) for near in difflib.get_close_matches(name, names, 1, 0.8)), None)


def _directories(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))[:_MAX_DATA_SETS]
    except OSError:
        return []
    return [folder / name for name in names if (folder / name).is_dir()]
