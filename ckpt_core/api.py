"""The public functions, in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ckpt_core.backend import Stored
from ckpt_core.comparison import Diff, diff
from ckpt_core.config import (
    ConfigDrift,
    ResolvedConfig,
    ShapeRules,
    check_config,
    config_drift,
    resolve_config,
)
from ckpt_core.conversion import Receipt, convert
from ckpt_core.fit import Fitted
from ckpt_core.hashing import hash_weights
from ckpt_core.live import tree_of
from ckpt_core.opening import open_checkpoint
from ckpt_core.writing import Progress, target_backend, write

__all__ = [
    "ConfigDrift",
    "Diff",
    "Receipt",
    "ResolvedConfig",
    "ShapeRules",
    "check_config",
    "config_drift",
    "convert",
    "diff",
    "hash_weights",
    "open_checkpoint",
    "resolve_config",
    "save_checkpoint",
]


def save_checkpoint(
    path: str | os.PathLike[str],
    tree: Any,
    *,
    to: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    strict: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    options: Mapping[str, object] | None = None,
) -> Fitted:
    """Write a tree of live arrays as a checkpoint, atomically.

    Arguments:
        path: the file or directory to make.
        tree: dicts, lists, tuples, dataclasses and Namespaces of numpy, torch or jax arrays and plain values;
            or a Checkpoint.
        to: the target format; without it the suffix of `path` decides.
        attributes: free metadata for the container.
        strict: anything that the target cannot hold is an error, and leaves no file.
        force: replace an existing target.
        progress: called with (bytes done, bytes in all).
        options: passed to the backend.

    Returns:
        What was written, with what is carried in metadata and what is lost.

    Example:
        save_checkpoint("out.safetensors", {"w": np.zeros((2, 3), np.float32)})
    """
    backend = target_backend(path, to)
    stored = Stored(tree_of(tree), dict(attributes or {}))
    return write(stored, path, backend, strict=strict, force=force, progress=progress, options=options)
