"""Open any checkpoint without running it, and convert it into any other format."""

from __future__ import annotations

from ckpt_core import api
from ckpt_core.api import *  # noqa: F403  # the list of public functions stands in api.py, once
from ckpt_core.arrays import ArraySpec, LazyArray
from ckpt_core.errors import CheckpointError
from ckpt_core.schema import Checkpoint, Metadata, OptimizerState
from ckpt_core.tree import Alias, Global, Record

__version__ = "0.1.0"

__all__ = [
    "Alias",
    "ArraySpec",
    "Checkpoint",
    "CheckpointError",
    "Global",
    "LazyArray",
    "Metadata",
    "OptimizerState",
    "Record",
]
__all__ += api.__all__
