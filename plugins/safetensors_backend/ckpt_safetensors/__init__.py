"""The safetensors plugin: single files, and directories of shards with an index."""

from __future__ import annotations

from collections.abc import Iterable

from ckpt_core.backend import Backend
from ckpt_core.hookspecs import hookimpl
from ckpt_safetensors.backend import SafetensorsBackend

__all__ = ["SafetensorsBackend", "ckpt_core_backends"]


@hookimpl
def ckpt_core_backends() -> Iterable[Backend]:
    """Return the backend of this plugin."""
    return [SafetensorsBackend()]
