"""The constructors of jax, flax and optax, read without any of them.

Sources: `__reduce__` in jax's `_src/array.py` (0.4 on), `_src/device_array.py` (0.3), `interpreters/xla.py` (0.2);
flax's `core/frozen_dict.py`. Classes that are saved by their attributes (TrainState, PRNGKeyArray, avals) need
nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.pickles.constructors import Constructor, resolve
from ckpt_core.pickles.numpy import array_from_state
from ckpt_core.tree import Global, Record

__all__ = ["JAX"]

_RECONSTRUCT: Final = frozenset({"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"})


def _array(args: tuple[Any, ...]) -> Any:
    """_reconstruct_array(numpy's function, its arguments, the array's state, the aval's state).

    The aval's state (weak_type, named_shape) says how jax would promote the value; it is no part of it.
    """
    if len(args) not in (3, 4) or type(args[0]) is not Global or args[0].name not in _RECONSTRUCT:
        return NotImplemented
    return array_from_state(args[2])


def _frozen_dict(args: tuple[Any, ...]) -> Any:
    if len(args) != 1 or type(resolve(args[0])) not in (dict, Record):
        return NotImplemented
    return Record("flax.core.frozen_dict.FrozenDict", args[0])


JAX: Final[Mapping[str, Constructor]] = {
    "jax._src.array._reconstruct_array": Constructor(_array),
    "jax._src.device_array.reconstruct_device_array": Constructor(_array),
    "jax.interpreters.xla.reconstruct_device_array": Constructor(_array),
    "flax.core.frozen_dict.FrozenDict": Constructor(_frozen_dict, copies=True),
}
