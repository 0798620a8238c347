"""Pickle, read and written as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ckpt_core.pickles.blob import Blob
from ckpt_core.pickles.constructors import Constructor, Pending, Redirect, Unfinished, resolve
from ckpt_core.pickles.jax import JAX
from ckpt_core.pickles.machine import Unpickled, unpickle
from ckpt_core.pickles.numpy import NUMPY, make_array
from ckpt_core.pickles.numpy_dtypes import DType
from ckpt_core.pickles.optax import OPTAX
from ckpt_core.pickles.stdlib import STDLIB

__all__ = [
    "JAX",
    "NUMPY",
    "OPTAX",
    "PLAIN",
    "STDLIB",
    "Blob",
    "Constructor",
    "DType",
    "Pending",
    "Redirect",
    "Unfinished",
    "Unpickled",
    "make_array",
    "resolve",
    "unpickle",
]

PLAIN: Final[Mapping[str, Constructor]] = {**STDLIB, **NUMPY, **JAX, **OPTAX}
"""All constructors but those of torch."""
