"""Orbax directories, Flax msgpack files, and live models of Flax, for ckpt_core."""

from __future__ import annotations

from collections.abc import Iterable

from ckpt_core.backend import Backend
from ckpt_core.framework import Framework
from ckpt_core.hookspecs import hookimpl
from ckpt_flax.equinox import EquinoxBackend
from ckpt_flax.framework import FlaxFramework
from ckpt_flax.msgpack import MsgpackBackend
from ckpt_flax.orbax import OrbaxBackend

__all__ = ["ckpt_core_backends", "ckpt_core_frameworks"]


@hookimpl
def ckpt_core_backends() -> Iterable[Backend]:
    """Return the backends of this plugin."""
    return [OrbaxBackend(), MsgpackBackend(), EquinoxBackend()]


@hookimpl
def ckpt_core_frameworks() -> Iterable[Framework]:
    """Return Flax, as far as its live objects are concerned."""
    return [FlaxFramework()]
