"""The torch plugin: files of `torch.save` of every vintage, and TorchScript archives."""

from __future__ import annotations

from ckpt_core.hookspecs import hookimpl
from ckpt_torch.backend import TorchBackend

__all__ = ["ckpt_core_backends"]


@hookimpl
def ckpt_core_backends() -> list[TorchBackend]:
    """Return the backends of this plugin."""
    return [TorchBackend()]
