"""A config in a container's metadata: what `ckpt config --write` leaves, and what reads it.

The attribute `ckpt_config` is a JSON text, `{"version": 1, "values": ..., "sources": {...}}`. The values have the
neutral form of `docs/neutral-schema.md`, so that tuples and numbers of any size come back; the sources say for each
dotted field where its value came from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import CheckpointError, DamagedFileError, UnsupportedError
from ckpt_core.fitting import neutral
from ckpt_core.tree import KeyPath, map_with_path

__all__ = ["ATTRIBUTE", "WrittenConfig", "config_attribute", "written_config"]

ATTRIBUTE: Final = "ckpt_config"
"""The key in the container's metadata."""

VERSION: Final = 1


class WrittenConfig(NamedTuple):
    """The values of a config, nested, and the source of each by dotted name."""

    values: dict[str, Any]
    sources: dict[str, str]


def config_attribute(values: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """Return a config as the text of the attribute; what has no neutral form is written as its own text.

    Example:
        >>> config_attribute({"width": 8}, {"width": "inferred"})
        '{"version":1,"values":{"width":8},"sources":{"width":"inferred"}}'
    """
    form = neutral.encode(map_with_path(_encodable, dict(values)), _no_array)
    document = {"version": VERSION, "values": form, "sources": dict(sources)}
    return json.dumps(document, separators=(",", ":"))


def written_config(attributes: Mapping[str, Any]) -> WrittenConfig | None:
    """Return the config in a container's metadata, or None where there is none that this version reads."""
    text = attributes.get(ATTRIBUTE)
    if not isinstance(text, str):
        return None
    try:
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("version") != VERSION:
            return None
        values = neutral.decode(document.get("values"), _no_reference)
    except (ValueError, RecursionError, DamagedFileError):
        return None
    sources = document.get("sources")
    if not isinstance(values, dict) or not isinstance(sources, dict):
        return None
    return WrittenConfig(values, {str(name): str(source) for name, source in sources.items()})


def _encodable(_: KeyPath, value: Any) -> Any:
    if isinstance(value, LazyArray):
        return repr(value)
    try:
        neutral.encode_value(value)
    except CheckpointError:
        return repr(value)[:1000]
    return value


def _no_array(_: KeyPath, array: LazyArray) -> Mapping[str, Any]:
    raise UnsupportedError(f"{array!r} is no plain value")


def _no_reference(_: KeyPath, body: Mapping[str, Any]) -> LazyArray:
    raise DamagedFileError(f"an array {dict(body)} where a plain value is expected")
