"""write_config: a copy of a checkpoint that carries its config, with the source of each value."""

from __future__ import annotations

import os

from ckpt_core.backend import Stored
from ckpt_core.config.result import ResolvedConfig
from ckpt_core.config.targets.base import nested
from ckpt_core.conversion import Receipt, convert
from ckpt_core.opening import open_checkpoint
from ckpt_core.registry import registry
from ckpt_core.schema import Checkpoint
from ckpt_core.schema.config_attribute import ATTRIBUTE, config_attribute
from ckpt_core.writing import Progress

__all__ = ["write_config"]


def write_config(
    ckpt: Checkpoint | str | os.PathLike[str],
    target: str | os.PathLike[str],
    resolved: ResolvedConfig,
    *,
    to: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Receipt:
    """Write a copy of a checkpoint with a config in the metadata of its container.

    The tree stays as it is, every name and byte, so that whatever reads the old file reads the copy. `ckpt.config`
    of the copy is the config.

    Arguments:
        ckpt: the checkpoint, or its path.
        target: the file or directory to make.
        resolved: the config, from `resolve_config`.
        to: the target's format; without it that of the checkpoint, or what the target's suffix says.
        force: replace an existing target.
        progress: called with (bytes done, bytes in all).

    Raises:
        TargetError: the target exists, or cannot be written.
        UnknownFormatError: the checkpoint's format can only be read, and no other was named.

    Example:
        write_config("old.pth", "new.pth", resolve_config("old.pth", rules="rules.toml"))
    """
    if not isinstance(ckpt, Checkpoint):
        with open_checkpoint(ckpt) as source:
            return write_config(source, target, resolved, to=to, force=force, progress=progress)
    sources = {
        name: f"{origin.source}: {origin.where}" if origin.where else origin.source
        for name, origin in resolved.provenance.items()
    }
    plain = resolved.config if isinstance(resolved.config, dict) else nested(resolved.values)
    text = config_attribute(plain, sources)
    stored = Stored(ckpt.tree, {**ckpt.stored.attributes, ATTRIBUTE: text}, ckpt.stored.notes)
    copy = Checkpoint(
        stored,
        ckpt.roles,
        layout=ckpt.layout,
        format=ckpt.format,
        path=ckpt.path,
        tied=ckpt.declared_ties,
    )
    if to is None and not registry().for_suffix(os.fspath(target).rstrip("/")):
        to = ckpt.format
    return convert(copy, target, to=to, force=force, progress=progress)
