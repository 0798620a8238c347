"""plain_config: hyperparameters as data that every container holds and every loader takes."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Set as AbstractSet
from pathlib import PurePath
from typing import Any, Final

import numpy as np

from ckpt_core.config.targets.kinds import kind_of

__all__ = ["plain_config"]

_BASES: Final = (bool, int, float, str)


def plain_config(config: Any) -> Any:
    """Return hyperparameters as dicts, lists, tuples, numbers and text; what is none of these becomes text.

    A member of an enum is its value, a set a sorted list, a date its ISO text, a function or class its name.

    Arguments:
        config: a mapping, dataclass, Namespace, pydantic model or ConfigDict, nested as it likes.

    Example:
        >>> plain_config({"sizes": {3, 1}, "when": datetime.date(2025, 1, 2), "act": len})
        {'sizes': [1, 3], 'when': '2025-01-02', 'act': 'builtins.len'}
    """
    if config is None or type(config) in _BASES:
        return config
    if isinstance(config, enum.Enum):
        return plain_config(config.value)
    kind = None if isinstance(config, type) else kind_of(type(config))
    if kind is not None:
        return {str(key): plain_config(value) for key, value in kind.held(config).items()}
    if isinstance(config, (list, tuple)):
        values = [plain_config(value) for value in config]
        return values if isinstance(config, list) else tuple(values)
    if isinstance(config, AbstractSet):
        return sorted((plain_config(value) for value in config), key=lambda value: (str(type(value)), value))
    if isinstance(config, (np.generic, np.ndarray)):
        return config.tolist()
    base = next((one for one in _BASES if isinstance(config, one)), None)
    return base(config) if base is not None else _text(config)


def _text(value: Any) -> str:
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, PurePath):
        return str(value)
    name = getattr(value, "__qualname__", None)
    if isinstance(name, str):  # a function or class, whose repr may hold an address
        return ".".join(part for part in (getattr(value, "__module__", None), name) if isinstance(part, str))
    return repr(value)
