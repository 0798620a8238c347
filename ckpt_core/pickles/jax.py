"""The constructors of jax, flax and optax, read without any of them.

Sources: `__reduce__` in jax's `_src/array.py` (0.4 on), `_src/device_array.py` (0.3), `interpreters/xla.py` (0.2);
flax's `core/frozen_dict.py`; haiku's `_src/data_structures.py`. Classes that are saved by their attributes (TrainState,
PRNGKeyArray, avals) need nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from ckpt_core.pickles.constructors import Constructor, resolve
from ckpt_core.pickles.numpy import RECONSTRUCT, array_from_state
from ckpt_core.tree import Global, Record

__all__ = ["JAX"]


def _array(args: tuple[Any, ...]) -> Any:
    """_reconstruct_array(numpy's function, its arguments, the array's state, the aval's state).

    The aval's state (weak_type, named_shape) says how jax would promote the value; it is no part of it.
    """
    if len(args) not in (3, 4) or type(args[0]) is not Global or args[0].name not in RECONSTRUCT:
        return NotImplemented
    return array_from_state(args[2])


def _mapping(name: str, args: tuple[Any, ...]) -> Any:
    """FrozenDict(entries); flax before 0.3.5 saved it by its attributes, `_dict` among them. Haiku's likewise."""
    entries = resolve(args[0]) if len(args) == 1 else {} if not args else None
    return Record(name, entries) if isinstance(entries, dict) else NotImplemented


def _frozen_dict_state(value: Any, state: Any) -> Any:
    if type(state) is tuple and len(state) == 2 and state[0] is None:  # it has slots
        state = state[1]
    entries = resolve(state.get("_dict")) if type(state) is dict else None
    if not isinstance(entries, dict) or value:
        return NotImplemented
    value.update(entries)
    return value


def _nnx_state(args: tuple[Any, ...]) -> Any:
    """An `nnx.State` without its entries, which follow as its attribute `_mapping` (flax's `nnx/statelib.py`)."""
    return NotImplemented if args else Record("flax.nnx.statelib.State")


def _nnx_state_entries(value: Any, state: Any) -> Any:
    if type(state) is tuple and len(state) == 2 and not state[0]:  # it has slots
        state = state[1]
    entries = resolve(state.get("_mapping")) if type(state) is dict and len(state) == 1 else None
    if not isinstance(entries, dict) or value:
        return NotImplemented
    value.update(entries)
    return value


_FROZEN_DICT: Final = "flax.core.frozen_dict.FrozenDict"
_HAIKU: Final = tuple(
    f"haiku._src.data_structures.{name}" for name in ("FlatMapping", "FlatMap", "frozendict")
)

JAX: Final[Mapping[str, Constructor]] = {
    **{name: Constructor(partial(_mapping, name), copies=True) for name in _HAIKU},
    "jax._src.array._reconstruct_array": Constructor(_array),
    "jax._src.device_array.reconstruct_device_array": Constructor(_array),
    "jax.interpreters.xla.reconstruct_device_array": Constructor(_array),
    _FROZEN_DICT: Constructor(partial(_mapping, _FROZEN_DICT), _frozen_dict_state, copies=True),
    "flax.nnx.statelib.State": Constructor(_nnx_state, _nnx_state_entries, copies=True),
}
