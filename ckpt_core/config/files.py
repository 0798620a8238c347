"""Config files: JSON, YAML, TOML and Python constants, read as data within bounds; nothing in them is run."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ckpt_core.config.constants import read_constants
from ckpt_core.errors import CheckpointNotFoundError, DamagedFileError, LimitError, UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["read_config_file", "read_toml"]

_MAX_BYTES: Final = 4 << 20
_MAX_YAML: Final = 1 << 19  # its parser is slow
_MAX_NODES: Final = 100_000


def read_config_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a config file by its suffix: .json, .yaml, .yml, .toml, .py.

    Raises:
        CheckpointNotFoundError: there is no such file.
        DamagedFileError: it is not what its suffix says, or holds no mapping.
        LimitError: it is too large, or unfolds to too much.
        UsageError: no reader is known for the suffix.
    """
    suffix = Path(path).suffix.lower()
    reader = _READERS.get(suffix)
    if reader is None:
        raise UsageError(f"is no config file: {', '.join(_READERS)} are read", path=path)
    text = _text(path)
    try:
        found = reader(text)
    except RecursionError:
        raise LimitError("is nested too deeply", path=path) from None
    except DamagedFileError as error:
        raise error.located(path) from None
    if not isinstance(found, Mapping):
        raise DamagedFileError("holds no mapping of names to values", path=path)
    return dict(found)


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a TOML file; raises as `read_config_file` does."""
    try:
        return _toml(_text(path))
    except DamagedFileError as error:
        raise error.located(path) from None


def _text(path: str | os.PathLike[str]) -> str:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise CheckpointNotFoundError("no such file", path=path) from None
    if not stat.S_ISREG(status.st_mode):
        raise UsageError("is no regular file", path=path)
    if status.st_size > _MAX_BYTES:
        raise LimitError(f"has {status.st_size} bytes, more than a config ({_MAX_BYTES})", path=path)
    try:
        return Path(path).read_bytes()[: _MAX_BYTES + 1].decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DamagedFileError("is no UTF-8 text", path=path) from None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DamagedFileError(f"is no JSON: {error}") from None


def _toml(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = tomllib.loads(text)
        return found
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DamagedFileError(f"is no TOML: {error}") from None


def _yaml(text: str) -> Any:
    import yaml

    if len(text) > _MAX_YAML:
        raise LimitError(f"has {len(text)} characters of YAML, more than a config ({_MAX_YAML})")
    loader = _inert_loader()(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}
        _check_unfolded(node)
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise DamagedFileError(f"is no YAML: {' '.join(str(error).split())[:300]}") from None
    finally:
        loader.dispose()


def _inert_loader() -> Any:
    """PyYAML's safe loader, which also reads values of tags that it does not know: as what stands there, not made."""
    import yaml

    class Inert(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML ships no types
        """Reads `!!python/tuple [1, 2]` as a list and `!!python/object:a.B {x: 1}` as a mapping."""

    def as_data(loader: Any, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    Inert.add_constructor(None, as_data)
    return Inert


def _check_unfolded(root: Any) -> None:
    """Refuse a graph of YAML nodes whose aliases unfold to a large tree, or to an endless one."""
    sizes: dict[int, int] = {}
    stack = [(root, False)]
    open_nodes: set[int] = set()
    while stack:
        node, is_done = stack.pop()
        below = _below(node)
        if is_done:
            open_nodes.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in below)
            if sizes[id(node)] > _MAX_NODES:
                raise LimitError(f"holds more than {_MAX_NODES} values, its aliases unfolded")
        elif id(node) in open_nodes:
            raise LimitError("an alias in it holds itself")
        elif id(node) not in sizes:
            open_nodes.add(id(node))
            stack.append((node, True))
            stack += [(child, False) for child in below if id(child) not in sizes]


def _below(node: Any) -> list[Any]:
    value = node.value
    if not isinstance(value, list):
        return []
    return [part for pair in value for part in pair] if value and isinstance(value[0], tuple) else value


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    ".json": _json,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".toml": _toml,
    ".py": read_constants,
}
