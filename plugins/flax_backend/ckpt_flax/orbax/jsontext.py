"""JSON documents of a checkpoint directory, read within bounds."""

from __future__ import annotations

import json
from typing import Any, Final

from ckpt_core.errors import DamagedFileError, LimitError
from ckpt_core.source import Source

__all__ = ["MAX_JSON", "parse_json", "parse_object", "read_json", "read_object"]

MAX_JSON: Final = 1 << 30
"""Bytes that one document may have."""


def read_json(source: Source) -> Any:
    """Parse a file as one JSON value.

    Raises:
        DamagedFileError: it is no JSON, is nested too deep, or is larger than MAX_JSON.
    """
    if source.size > MAX_JSON:
        raise LimitError(f"a JSON document of {source.size} bytes", path=source.path)
    try:
        return parse_json(source.read(0, source.size))
    except DamagedFileError as error:
        raise error.located(source.path) from error.__cause__


def read_object(source: Source) -> dict[str, Any]:
    """Parse a file as one JSON object; raises DamagedFileError when it is anything else."""
    value = read_json(source)
    if not isinstance(value, dict):
        raise DamagedFileError("is not a JSON object", path=source.path)
    return value


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse bytes as one JSON object; raises DamagedFileError when they are anything else."""
    value = parse_json(data)
    if not isinstance(value, dict):
        raise DamagedFileError("is not a JSON object")
    return value


def parse_json(data: bytes) -> Any:
    """Parse bytes as one JSON value; raises DamagedFileError when they are none, or are nested too deep."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise LimitError("JSON nested too deep") from error
    except ValueError as error:
        raise DamagedFileError(f"is not valid JSON ({str(error)[:200]})") from error
