"""The torch plugin: files of `torch.save` of every vintage, TorchScript archives, and live modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ckpt_core.hookspecs import hookimpl
from ckpt_core.pickles import Constructor
from ckpt_core.source import Source
from ckpt_torch.backend import TorchBackend
from ckpt_torch.formats import constructors
from ckpt_torch.framework import TorchFramework

__all__ = ["ckpt_core_backends", "ckpt_core_constructors", "ckpt_core_frameworks"]


@hookimpl
def ckpt_core_constructors() -> list[Callable[[Source], Mapping[str, Constructor]]]:
    """Return what a plain pickle of tensors may construct."""
    return [constructors]


@hookimpl
def ckpt_core_backends() -> list[TorchBackend]:
    """Return the backends of this plugin."""
    return [TorchBackend()]


@hookimpl
def ckpt_core_frameworks() -> list[TorchFramework]:
    """Return torch, as far as its live objects are concerned."""
    return [TorchFramework()]
