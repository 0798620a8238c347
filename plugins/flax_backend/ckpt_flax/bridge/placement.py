"""Where arrays go: a device, a sharding, or where the ones before them were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import jax
import numpy as np

from ckpt_core.errors import DeviceMemoryError, UsageError
from ckpt_core.rendering.text import size_text
from ckpt_flax.bridge.pytrees import Skeleton, is_random_key

__all__ = ["placed", "shardings_for", "where_is"]

_SHOWN: Final = 5

_GENERATORS: Final = ("threefry2x32", "rbg", "unsafe_rbg")
"""jax's own generators (`jax/_src/prng.py`)."""


def shardings_for(skeleton: Skeleton, device: Any, sharding: Any) -> list[Any]:
    """Return the sharding (or device) of each leaf; None where it goes to jax's default device.

    Arguments:
        skeleton: the model, taken apart.
        device: a `jax.Device`, "auto", a platform ("cpu", "gpu"), or one with a number ("gpu:1").
        sharding: a `jax.sharding.Sharding` for all leaves, or a tree like the model with one for each.

    Raises:
        UsageError: there is no such device, the shardings are not a tree like the model, or some do not fit the
            shapes of their arrays; names these.
    """
    if sharding is not None:
        if device is not None:
            raise UsageError("device= and sharding= exclude each other")
        found = _of_tree(skeleton, sharding)
        _check_shapes(skeleton, found)
        return found
    if device is not None:
        return [_device_named(device)] * len(skeleton.leaves)
    return [_own_sharding(leaf) for leaf in skeleton.leaves]


def _own_sharding(leaf: Any) -> Any:
    """Where a leaf was put on purpose; what nobody placed goes where jax likes."""
    if isinstance(leaf, jax.Array):
        return leaf.sharding if leaf.committed else None
    return leaf.sharding if isinstance(leaf, jax.ShapeDtypeStruct) else None


def _of_tree(skeleton: Skeleton, sharding: Any) -> list[Any]:
    if isinstance(sharding, jax.sharding.Sharding):
        return [sharding] * len(skeleton.leaves)
    found: list[Any]
    found, structure = jax.tree_util.tree_flatten(
        sharding, is_leaf=lambda node: isinstance(node, jax.sharding.Sharding)
    )
    if structure != skeleton.treedef:
        raise UsageError(
            "sharding= is no tree like the model",
            remedy="Pass one sharding for all, or one for each leaf: jax.tree.map(lambda leaf: ..., model).",
        )
    return found


def _check_shapes(skeleton: Skeleton, shardings: list[Any]) -> None:
    problems = []
    for path, i in skeleton.positions.items():
        shape = tuple(np.shape(skeleton.leaves[i]))
        try:
            shardings[i].shard_shape(shape)
        except (ValueError, IndexError) as error:
            said = " ".join(str(error).split()).rpartition("implies that ")[2]
            reason = "it has fewer dimensions" if isinstance(error, IndexError) else said[:200]
            name = "/".join(map(str, path))
            problems.append(
                f"{name} {list(shape)} by {getattr(shardings[i], 'spec', shardings[i])}: {reason}"
            )
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise UsageError(
            f"the sharding does not fit {len(problems)} of the {len(skeleton.positions)} arrays",
            remedy="\n  ".join([*problems[:_SHOWN], *more, "Nothing was read, and the model is as it was."]),
        )


def _device_named(device: Any) -> Any:
    if isinstance(device, jax.Device):
        return device
    if device == "auto":
        return jax.devices()[0]
    platform, _, number = str(device).partition(":")
    try:
        return jax.devices({"cuda": "gpu"}.get(platform, platform))[int(number or 0)]
    except (RuntimeError, ValueError, IndexError) as error:
        there = ", ".join(map(str, jax.devices()))
        raise UsageError(
            f"there is no device {device!r} here: {str(error).partition(chr(10))[0]}",
            remedy=f"There is: {there}.",
        ) from None


def placed(data: list[np.ndarray], leaves: list[Any], shardings: list[Any]) -> list[Any]:
    """Return host arrays as leaves of the kind that they take the places of.

    Arguments:
        data: the arrays; each is let go of as soon as it is placed.
        leaves: what they take the places of: jax arrays, specs, random keys, numpy arrays or numbers.
        shardings: where each goes.

    Raises:
        DeviceMemoryError: they do not fit; names the bytes that all of them need.
    """
    needed = sum(_bytes_there(item, sharding) for item, sharding in zip(data, shardings, strict=True))
    made = []
    try:
        for i, (leaf, sharding) in enumerate(zip(leaves, shardings, strict=True)):
            made.append(_like(leaf)(data[i], leaf, sharding))
            data[i] = np.empty(0)
        return [leaf.block_until_ready() if isinstance(leaf, jax.Array) else leaf for leaf in made]
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).partition("\n")[0]
        if "RESOURCE_EXHAUSTED" not in reason:
            raise
        raise DeviceMemoryError(
            f"the model needs {needed:,} bytes ({size_text(needed)}) there: {reason}",
            remedy='It was left as it was. device="cpu" needs none there.',
        ) from error


def _bytes_there(data: np.ndarray, sharding: Any) -> int:
    """The bytes that an array takes on all devices together: a copy on each that has not a part of its own."""
    if not isinstance(sharding, jax.sharding.Sharding):
        return data.nbytes
    part = int(np.prod(sharding.shard_shape(data.shape), dtype=np.int64)) * data.itemsize
    return part * len(sharding.device_set)


def _like(leaf: Any) -> Callable[[np.ndarray, Any, Any], Any]:
    if is_random_key(leaf):
        return _key
    return _array if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)) else _plain


def _key(data: np.ndarray, leaf: Any, sharding: Any) -> Any:
    key = jax.random.wrap_key_data(jax.numpy.asarray(data), impl=_implementation(leaf))
    return key if sharding is None else jax.device_put(key, sharding)


def _implementation(leaf: Any) -> Any:
    """The generator that a random key is of; an abstract key tells it by its dtype alone."""
    if isinstance(leaf, jax.Array):
        return jax.random.key_impl(leaf)
    return next(name for name in _GENERATORS if jax.random.key(0, impl=name).dtype == leaf.dtype)


def _array(data: np.ndarray, leaf: Any, sharding: Any) -> Any:
    cast = data.astype(leaf.dtype, copy=False)
    return jax.numpy.asarray(cast) if sharding is None else jax.device_put(cast, sharding)


def _plain(data: np.ndarray, leaf: Any, _: Any) -> Any:
    return data.astype(leaf.dtype, copy=False) if isinstance(leaf, np.ndarray) else type(leaf)(data.item())


def where_is(leaves: list[Any]) -> str:
    """Return the devices of arrays, in words."""
    devices = {str(device) for leaf in leaves if isinstance(leaf, jax.Array) for device in leaf.devices()}
    names = sorted(devices)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") or "host memory"
