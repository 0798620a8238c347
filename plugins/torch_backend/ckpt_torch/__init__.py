"""The torch plugin: files of `torch.save` of every vintage, and TorchScript archives."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ckpt_core.hookspecs import hookimpl
from ckpt_core.pickles import Constructor
from ckpt_core.source import Source
from ckpt_torch.backend import TorchBackend
from ckpt_torch.formats import constructors

__all__ = ["ckpt_core_backends", "ckpt_core_constructors"]


@hookimpl
def ckpt_core_constructors() -> list[Callable[[Source], Mapping[str, Constructor]]]:
    """Return what a plain pickle of tensors may construct."""
    return [constructors]


@hookimpl
def ckpt_core_backends() -> list[TorchBackend]:
    """Return the backends of this plugin."""
    return [TorchBackend()]
