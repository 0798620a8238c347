"""What lies in an Orbax directory and is not Orbax's: nobody may remove it together with the checkpoint."""

from __future__ import annotations

from typing import Final

from ckpt_core.errors import CheckpointError
from ckpt_core.source import Source
from ckpt_flax.orbax.layout import UNCOMMITTED
from ckpt_flax.orbax.store import DOCUMENTS

__all__ = ["foreign"]

_FILES: Final = frozenset(
    [
        "_METADATA",
        "_CHECKPOINT_METADATA",
        "_ROOT_METADATA",
        "_sharding",
        "_strings.json",
        "checkpoint",
        "commit_success.txt",
        "data.json",
        "descriptor",
        "manifest.ocdbt",
        "metadata",
        "metrics",
        "orbax.checkpoint",
        "process_metadata.json",
        "pygrain_states.json",
        ".zattrs",
        ".zgroup",
    ]
)
"""The files of items, composites and roots, of every vintage (the constants of `orbax/checkpoint`)."""

_WHOLE: Final = frozenset({"array_metadatas", "process_metadata"})
"""Directories whose content is Orbax's."""

_ENOUGH: Final = 20


def foreign(source: Source) -> tuple[str, ...]:
    """Return the paths of what lies in a directory, in its steps and in its items, and is not Orbax's."""
    found: list[str] = []
    stack = [("", source)]
    while stack and len(found) < _ENOUGH:
        prefix, folder = stack.pop()
        is_database = folder.has("manifest.ocdbt")
        for name in folder.members():
            try:
                member = folder.entry(name)
            except CheckpointError:  # a link that leads out, or a special file
                found.append(prefix + name)
                continue
            if not member.is_directory:
                if name not in _FILES:
                    found.append(prefix + name)
            elif UNCOMMITTED in name:
                found.append(prefix + name)
            elif not (name in _WHOLE or (is_database and _is_of_database(name)) or _is_array(member)):
                stack.append((f"{prefix}{name}/", member))
    return tuple(sorted(found))


def _is_of_database(name: str) -> bool:
    return name == "d" or name.startswith("ocdbt.process_")


def _is_array(source: Source) -> bool:
    return any(source.has(document) for document in DOCUMENTS)
