"""Orbax directories and Flax msgpack files, for ckpt_core."""

from __future__ import annotations

from collections.abc import Iterable

from ckpt_core.backend import Backend
from ckpt_core.hookspecs import hookimpl
from ckpt_flax.msgpack import MsgpackBackend
from ckpt_flax.orbax import OrbaxBackend

__all__ = ["ckpt_core_backends"]


@hookimpl
def ckpt_core_backends() -> Iterable[Backend]:
    """Return the backends of this plugin."""
    return [OrbaxBackend(), MsgpackBackend()]
