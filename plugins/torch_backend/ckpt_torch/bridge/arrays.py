"""Tensors as LazyArrays, and back."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UnsupportedError
from ckpt_core.storage import MemoryStorage, Storage
from ckpt_core.tree import Global, Record, map_with_path
from ckpt_torch.names import DTYPES

__all__ = ["adopt", "from_torch", "neutral_dtype", "to_torch", "to_torch_tree"]

_TORCH: Final[dict[str, torch.dtype]] = {
    neutral: dtype
    for name, neutral in DTYPES.items()
    if isinstance(dtype := vars(torch).get(name.removeprefix("torch.")), torch.dtype)
}
_NEUTRAL: Final = {dtype: neutral for neutral, dtype in _TORCH.items()}


def adopt(value: object) -> LazyArray | Record | Global | None:
    """Wrap a tensor, without a copy when it is on the CPU, a dtype or a device; None for anything else.

    Raises:
        UnsupportedError: it is sparse, quantized or without values, or has a dtype that arrays do not have.
    """
    if isinstance(value, torch.Tensor):
        return _array(value, {})
    if isinstance(value, torch.dtype):
        return Global(str(value))
    return Record("torch.device", args=(str(value),)) if isinstance(value, torch.device) else None


def from_torch(value: Any) -> Any:
    """Return a tree of a tensor, a module (its state dict), an optimizer, or nested containers of tensors.

    Arguments:
        value: the object; tensors on the CPU are not copied, so they must not change while the tree is used.

    Returns:
        A tree with a LazyArray for each tensor; tensors that share a storage share it in the tree.

    Raises:
        UnsupportedError: a tensor is sparse or quantized, or has a dtype that arrays do not have.

    Example:
        >>> from_torch({"w": torch.zeros(2, 3)})
        {'w': LazyArray((2, 3), float32)}
    """
    if isinstance(value, (torch.nn.Module, torch.optim.Optimizer)):
        value = value.state_dict()
    storages: dict[int, Storage] = {}

    def leaf(_: object, node: Any) -> Any:
        return _array(node, storages) if isinstance(node, torch.Tensor) else node

    return map_with_path(leaf, value)


def to_torch(array: LazyArray) -> torch.Tensor:
    """Read an array into a new tensor.

    Arguments:
        array: of any dtype that torch has; its bytes are kept.

    Raises:
        UnsupportedError: torch has no such dtype.

    Example:
        >>> to_torch(LazyArray.from_numpy(np.arange(3, dtype=np.int32)))
        tensor([0, 1, 2], dtype=torch.int32)
    """
    dtype = _TORCH.get(array.dtype)
    if dtype is None:
        raise UnsupportedError(f"torch has no dtype {array.dtype}")
    if not array.size:
        return torch.empty(array.shape, dtype=dtype)
    data = np.empty(array.nbytes, np.uint8)
    done = 0
    for tile in array.tiles():
        data[done : done + len(tile)] = tile
        done += len(tile)
    return torch.from_numpy(data).view(dtype).reshape(array.shape)


def to_torch_tree(tree: Any) -> Any:
    """Return the tree with each array as a tensor; arrays that are tied become one tensor."""
    made: dict[Any, torch.Tensor] = {}

    def leaf(_: object, node: Any) -> Any:
        if not isinstance(node, LazyArray):
            return node
        key = node.identity or id(node)
        if key not in made:
            made[key] = to_torch(node)
        return made[key]

    return map_with_path(leaf, tree)


def neutral_dtype(tensor: torch.Tensor) -> str:
    """Return the neutral name of a tensor's dtype.

    Raises:
        UnsupportedError: it is sparse or quantized, or has a dtype that arrays do not have.
    """
    dtype = _NEUTRAL.get(tensor.dtype)
    if dtype is None or tensor.layout is not torch.strided or tensor.is_quantized:
        raise UnsupportedError(f"a {tensor.layout} tensor of {tensor.dtype} is no plain array")
    return dtype


def _array(tensor: torch.Tensor, storages: dict[int, Storage]) -> LazyArray:
    dtype = neutral_dtype(tensor)
    if tensor.is_meta:
        raise UnsupportedError("a tensor on the meta device has no values")
    tensor = tensor.detach().resolve_conj().resolve_neg().cpu()
    untyped = tensor.untyped_storage()
    key = untyped.data_ptr()
    if key not in storages or not untyped.nbytes():
        whole = torch.empty(0, dtype=torch.uint8).set_(untyped)
        storages[key] = MemoryStorage(whole.numpy().data)
    width = tensor.element_size()
    strides = tuple(step * width for step in tensor.stride()) if tensor.numel() else None
    return LazyArray(tuple(tensor.shape), dtype, storages[key], tensor.storage_offset() * width, strides)
