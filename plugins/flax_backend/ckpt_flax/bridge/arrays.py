"""jax arrays as LazyArrays, and back."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import name_of
from ckpt_core.errors import MissingDependencyError, UnsupportedError
from ckpt_core.live import tree_of
from ckpt_core.tree import Record, map_with_path, plain, substitute, walk
from ckpt_flax.orbax.items import RANDOM_KEY

__all__ = ["adopt", "from_jax", "prepared", "to_jax"]


def adopt(value: object) -> LazyArray | Record | None:
    """Wrap a jax array, whatever devices it lies on, or a typed random key; None for anything else.

    Raises:
        UnsupportedError: a part of it lies with another process.
    """
    jax = sys.modules.get("jax")
    if jax is None or not isinstance(value, jax.Array):
        return None
    if _is_key(jax, value):
        return _random_key(jax, value)
    if not value.is_fully_addressable:
        raise UnsupportedError("a jax array of which other processes hold parts")
    data = np.asarray(value)
    if name_of(data.dtype) is None:
        raise UnsupportedError(f"jax dtype {value.dtype} is not an array of numbers")
    return LazyArray.from_numpy(data)


def from_jax(tree: Any) -> Any:
    """Return a live tree of jax arrays with LazyArrays, and Records for typed random keys, as leaves.

    Arguments:
        tree: dicts, lists, tuples, FrozenDicts, dataclasses (`TrainState`), optimizer states, `nnx.State`.

    Example:
        >>> import jax.numpy as jnp
        >>> from_jax({"w": jnp.ones((2, 3))})
        {'w': LazyArray((2, 3), float32)}
    """
    return tree_of(prepared(tree))


def to_jax(tree: Any) -> Any:
    """Return a tree with its arrays read and put on jax's default device.

    Arguments:
        tree: a tree of LazyArrays, such as `open_checkpoint(...).tree` or a part of it.

    Returns:
        Dicts, lists and tuples of `jax.Array`. Where jax would narrow an array (64 bits, unless
        `jax_enable_x64` is set) the numpy array is returned instead.
    """
    jax = _import_jax()
    keys = [path for path, node in walk(tree) if isinstance(node, Record) and node.type_name == RANDOM_KEY]
    live = map_with_path(lambda _, leaf: _live(jax, leaf) if isinstance(leaf, LazyArray) else leaf, tree)
    for path in keys:
        node = live
        for key in path:
            node = node[key]
        live = substitute(live, path, jax.random.wrap_key_data(node["data"], impl=node["impl"]))
    return plain(live)


def _live(jax: Any, array: LazyArray) -> Any:
    data = array.read()
    return jax.numpy.asarray(data) if jax.dtypes.canonicalize_dtype(data.dtype) == data.dtype else data


def _is_key(jax: Any, value: Any) -> bool:
    return isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)


def _random_key(jax: Any, value: Any) -> Record:
    data = LazyArray.from_numpy(np.asarray(jax.random.key_data(value)))
    return Record(RANDOM_KEY, {"impl": str(jax.random.key_impl(value)), "data": data})


def prepared(value: Any) -> Any:
    """Replace what core does not know: typed keys, and the mappings of Flax."""
    jax = _import_jax()
    if _is_key(jax, value):
        return _random_key(jax, value)
    nnx = sys.modules.get("flax.nnx")
    if nnx is not None and isinstance(value, nnx.State):
        value = nnx.to_pure_dict(value)
    if isinstance(value, Mapping) and not isinstance(value, Record):
        return {key: prepared(child) for key, child in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*[prepared(child) for child in value])
    if isinstance(value, (list, tuple)):
        return type(value)([prepared(child) for child in value])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # What Flax marks as no part of the tree (functions, transformations) is not saved by Flax either.
        names = [f.name for f in dataclasses.fields(value) if f.metadata.get("pytree_node", True)]
        fields = {name: tree_of(prepared(getattr(value, name))) for name in names}
        return Record(f"{type(value).__module__}.{type(value).__qualname__}", fields)
    return value


def _import_jax() -> Any:
    try:
        import jax
    except ImportError as error:
        raise MissingDependencyError(
            "jax is not installed", remedy="pip install 'ckpt-core[flax]'"
        ) from error
    return jax
