"""configs_beside: the config files that training scripts leave beside their checkpoints."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ckpt_core.config.files import read_config_file
from ckpt_core.errors import CheckpointError

__all__ = ["Beside", "configs_beside"]

NAMES: Final = (
    "config.json",
    "args.json",
    "hparams.yaml",
    ".hydra/config.yaml",
    "config.yaml",
    "args.yaml",
    "hparams.json",
    "config.toml",
)
"""The files that are looked for, the strongest first."""

_LEVELS: Final = 3
_INNER: Final = re.compile(
    r"(\w+[-_])?(checkpoints?|ckpts?|weights|models?|snapshots?|saved[-_]models?|default|state)|"
    r"((step|epoch|iter|checkpoint|ckpt)s?[-_=]?)?\d+(-\d+)?",
    re.IGNORECASE,
)
"""Names of directories that hold a run's checkpoints, or one step: the config may lie in the directory above."""


@dataclass(frozen=True, slots=True)
class Beside:
    """A config file and what is in it, or why it could not be read."""

    path: str
    values: Mapping[str, Any]
    problem: str = ""


def configs_beside(path: str) -> list[Beside]:
    """Return the config files that belong to a checkpoint, the nearest first.

    They lie in a checkpoint's directory, and above it where the directory's name says that it holds checkpoints or
    one step (`checkpoints/`, `checkpoint-500/`, `100/default/`). They are read as data, never imported.

    Arguments:
        path: a file or a directory.
    """
    found = []
    for folder in _folders(os.path.abspath(path)):
        for name in NAMES:
            file = os.path.join(folder, *name.split("/"))
            if os.path.isfile(file) and not os.path.samefile(file, path):
                found.append(_read(file))
    return found


def _folders(path: str) -> list[str]:
    folders = [path] if os.path.isdir(path) else []
    folder = os.path.dirname(path)
    for _ in range(_LEVELS):
        folders.append(folder)
        if not _INNER.fullmatch(os.path.basename(folder)):
            break
        folder = os.path.dirname(folder)
    return folders


def _read(path: str) -> Beside:
    try:
        return Beside(path, read_config_file(path))
    except CheckpointError as error:
        return Beside(path, {}, str(error).split("\n", maxsplit=1)[0])
    except OSError as error:
        return Beside(path, {}, f"{path}: {error.strerror}")
