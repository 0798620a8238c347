"""A config as JSON, TOML or command-line arguments, for other programs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from ckpt_core.cli.jsonable import jsonable
from ckpt_core.cli.render import clean
from ckpt_core.config import Origin, ResolvedConfig

__all__ = ["FORMATS", "config_text"]

FORMATS = ("json", "toml", "args")

_WORD = 100_000
"""Characters of an argument."""


def config_text(resolved: ResolvedConfig, format: str) -> str:
    """Return a config in one of FORMATS.

    Example:
        >>> from ckpt_core import resolve_config
        >>> config_text(resolve_config({}, overrides={"lr": 0.1, "layers": (2, 3)}), "args")
        '--lr 0.1 --layers 2 3'
    """
    if format == "json":
        return json.dumps(jsonable(resolved.config), indent=2)
    return _toml(resolved) if format == "toml" else _arguments(resolved.values)


def _arguments(values: Mapping[str, Any]) -> str:
    """The command line of an argparse script: `--flag` for True, nothing for False and None, lists spread out."""
    words = []
    for name, value in values.items():
        if value is None or value is False:
            continue
        words.append(f"--{name}")
        if value is not True:
            parts = value if isinstance(value, (list, tuple)) else [value]
            words += [part if isinstance(part, str) else str(jsonable(part)) for part in parts]
    return shlex.join(clean(word, _WORD) for word in words)


def _toml(resolved: ResolvedConfig) -> str:
    """TOML with the source of each value as a comment; None, which TOML lacks, as a comment alone."""
    import tomlkit

    document = tomlkit.document()
    tables: dict[str, Any] = {"": document}
    for name, origin in sorted(resolved.provenance.items(), key=lambda item: "." in item[0]):
        group, _, key = name.rpartition(".")
        table = _table(tables, group)
        value = jsonable(origin.value)
        if value is None:
            table.add(tomlkit.comment(f"{clean(key)} is None  # {_source(origin)}"))
        else:
            item = tomlkit.item(_without_none(value))
            table.add(key, item)
            if not isinstance(value, dict):
                item.comment(_source(origin))
    return tomlkit.dumps(document)


def _table(tables: dict[str, Any], name: str) -> Any:
    import tomlkit

    if name not in tables:
        above, _, key = name.rpartition(".")
        tables[name] = tomlkit.table()
        _table(tables, above).add(key, tables[name])
    return tables[name]


def _source(origin: Origin) -> str:
    return clean(f"{origin.source}: {origin.where}" if origin.where else origin.source)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(child) for key, child in value.items() if child is not None}
    if isinstance(value, list):
        return [_without_none(child) for child in value if child is not None]
    return value
