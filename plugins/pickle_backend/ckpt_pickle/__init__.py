"""The pickle plugin: pickled states of every protocol, also as joblib and cloudpickle write them."""

from __future__ import annotations

from ckpt_core.hookspecs import hookimpl
from ckpt_pickle.backend import PickleBackend

__all__ = ["ckpt_core_backends"]


@hookimpl
def ckpt_core_backends() -> list[PickleBackend]:
    """Return the backends of this plugin."""
    return [PickleBackend()]
