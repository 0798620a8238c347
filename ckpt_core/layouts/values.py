"""What a value is, whatever key it stands under: weights, an optimizer, a module, a plain setting."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import is_complex, is_float
from ckpt_core.tree import Alias, Record, children

__all__ = [
    "MAX_LISTED",
    "are_layers",
    "array_of",
    "has_array",
    "has_value",
    "is_float_array",
    "is_generator_state",
    "is_module",
    "is_numeric",
    "is_optimizer",
    "is_plain",
    "is_random_key",
    "is_scalar",
    "is_scripted",
    "is_state_dict",
    "is_streams",
    "is_tensor",
    "is_weights",
    "number",
    "numbers",
    "value_of",
]

_VARIABLE: Final = ("_raw_value", "raw_value", "value")
"""Where a pickled `nnx.Variable` has its value, in the versions of Flax (`nnx/variablelib.py`)."""

MAX_LISTED: Final = 4096
"""Elements of an array that may be a setting; it is read as a list then."""

_TENSORS: Final = (
    "torch._utils._rebuild_",
    "torch._tensor._rebuild_from_type",
    "torch.tensor._rebuild_from_type",
    "torch.nn.parameter.",
    "torch.Tensor",
    "numpy.ndarray",
    "safetensors.",
)
"""How the names begin of what a file makes one tensor by (`torch/_utils.py`, `torch/_tensor.py`)."""

_TWISTER: Final = 624
"""Words of the state of a Mersenne twister."""

_LOOK: int = 10_000
"""Nodes looked at before a value without arrays is taken to have none."""


def array_of(node: Any) -> LazyArray | None:
    """Return an array, also one that a parameter with attributes of its own wraps; else None."""
    if isinstance(node, LazyArray):
        return node
    if isinstance(node, Record) and list(node) == ["data"] and isinstance(node["data"], LazyArray):
        found: LazyArray = node["data"]
        return found
    return None


def is_tensor(node: Any) -> bool:
    """Say whether it is one tensor: an array, or one that arrays cannot be (sparse, quantised, of a subclass)."""
    if isinstance(node, Record):
        return node.type_name.startswith(_TENSORS) or array_of(node) is not None
    return isinstance(node, LazyArray)


def is_float_array(array: LazyArray) -> bool:
    """Say whether an array is of floating-point or complex numbers, as weights are."""
    return is_float(array.dtype) or is_complex(array.dtype)


def has_array(node: Any, fits: Callable[[LazyArray], bool] = lambda _: True) -> bool:
    """Say whether there is an array that fits anywhere inside, looking at the first ten thousand nodes."""
    stack, looked = [node], 0
    while stack and looked < _LOOK:
        item = stack.pop()
        looked += 1
        if isinstance(item, LazyArray) and fits(item):
            return True
        pairs = children(item)
        if pairs:
            stack.extend(child for _, child in reversed(pairs))
    return False


def is_scripted(node: Any) -> bool:
    """Say whether it is an object of a TorchScript program, whose attributes are all its own."""
    return isinstance(node, Record) and node.type_name.startswith("__torch__.")


def has_value(node: Any) -> bool:
    """Say whether there is a plain value anywhere inside, the implementation's name in a random key apart."""
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, dict) and ("impl" in item or "_impl" in item) and is_random_key(item):
            continue
        below: Any = item.values() if type(item) is dict else [child for _, child in children(item) or ()]
        for child in below:
            if type(child) is LazyArray:
                continue
            if isinstance(child, (dict, list, tuple)):
                stack.append(child)
            elif isinstance(child, (bool, int, float, complex, str, bytes)):
                return True
    return False


def is_optimizer(node: Any) -> bool:
    """Say whether it is a torch optimizer's state dict."""
    return isinstance(node, Mapping) and "param_groups" in node and "state" in node


def is_module(node: Any) -> bool:
    """Say whether it is a pickled torch module; one made by `copy.copy` shares the tables of its original."""
    return (
        isinstance(node, Record)
        and isinstance(node.get("_parameters"), (Mapping, Alias))
        and isinstance(node.get("_modules"), (Mapping, Alias))
    )


def is_state_dict(node: Any) -> bool:
    """Say whether it is a flat mapping from names to tensors, torch's `_extra_state` entries apart."""
    if not isinstance(node, Mapping) or not node:
        return False
    if set(map(type, node.values())) == {LazyArray} and set(map(type, node)) == {str}:
        return True  # as nearly always, and told without a look at each
    return all(
        isinstance(key, str) and (is_tensor(value) or key.endswith("_extra_state"))
        for key, value in node.items()
    ) and any(map(is_tensor, node.values()))


def is_weights(node: Any) -> bool:
    """Say whether it can be a model's weights: a module, or a mapping with arrays in it, no optimizer and no tensor."""
    if is_module(node):
        return True
    if not isinstance(node, Mapping) or not node or is_optimizer(node) or is_tensor(node):
        return False
    return has_array(node)


def are_layers(node: Any) -> bool:
    """Say whether it is a list or tuple of weights: of arrays, as plain JAX keeps layers, or of mappings of them."""
    if not isinstance(node, (list, tuple)) or not has_array(node, lambda array: array.ndim > 1):
        return False
    stack, looked = list(node), 0
    while stack and looked < _LOOK:
        item = stack.pop()
        looked += 1
        if isinstance(item, (list, tuple)):
            stack += item
        elif isinstance(item, LazyArray):
            if not is_float_array(item):
                return False
        elif not isinstance(item, Alias) and not is_tensor(item) and not is_weights(item):
            return False
    return True


def is_random_key(node: Any) -> bool:
    """Say whether it is a typed JAX random key, pickled or as Orbax has it: the implementation's name and the words."""
    if isinstance(node, Record) and isinstance(node.get("_base_array"), LazyArray):
        return True
    return (
        isinstance(node, Mapping)
        and set(node) == {"impl", "data"}
        and isinstance(node["impl"], str)
        and isinstance(node["data"], LazyArray)
    )


def value_of(node: Any) -> Any:
    """Return what an NNX variable holds, one as Orbax keeps it (its value alone) or a pickled one; else the node."""
    if isinstance(node, Record):
        keys = (key for key in _VARIABLE if key in node) if "_var_metadata" in node else ()
        return next((node[key] for key in keys), node)
    return node["value"] if isinstance(node, Mapping) and list(node) == ["value"] else node


def is_generator_state(node: Any) -> bool:
    """Say whether it is what Python's `random.getstate` or NumPy's `random.get_state` returns, or a generator."""
    if isinstance(node, Record):
        return node.type_name.startswith(("numpy.random.", "random.Random"))
    if not isinstance(node, (tuple, list)) or not 3 <= len(node) <= 5:
        return False
    if len(node) == 3:
        return node[0] == 3 and isinstance(node[1], (tuple, list)) and len(node[1]) == _TWISTER + 1
    words = node[1]
    return isinstance(node[0], str) and isinstance(words, LazyArray) and words.shape == (_TWISTER,)


def is_streams(node: Any) -> bool:
    """Say whether it is NNX's random streams: by name, the count of keys drawn beside the key."""
    return (
        isinstance(node, Mapping)
        and bool(node)
        and all(isinstance(stream, Mapping) and stream.keys() == {"count", "key"} for stream in node.values())
    )


def is_scalar(node: Any) -> bool:
    """Say whether it is one number: Python's, numpy's, or an array of one element without dimensions."""
    if isinstance(node, LazyArray):
        return node.shape == ()
    return isinstance(node, (int, float, np.number)) and not isinstance(node, bool)


def is_numeric(node: Any) -> bool:
    """Say whether it is one number or a sequence of numbers."""
    if isinstance(node, (list, tuple)):
        return bool(node) and all(is_scalar(item) for item in node)
    return is_scalar(node) or (isinstance(node, LazyArray) and node.ndim == 1)


def is_plain(node: Any) -> bool:
    """Say whether it is made of plain values alone: numbers, text, dates, and containers of them."""
    stack, looked = [node], 0
    while stack:
        item = stack.pop()
        looked += 1
        if isinstance(item, Alias) or looked > _LOOK:
            return False
        pairs = children(item)
        if pairs is not None:
            stack.extend(child for _, child in pairs)
        elif not isinstance(
            item, (bool, int, float, complex, str, np.generic, PurePath, type(None))
        ) and not (
            isinstance(item, (datetime.date, datetime.time, datetime.timedelta))
            or (isinstance(item, LazyArray) and item.shape == ())
        ):
            return False
    return True


def number(node: Any) -> Any:
    """Return a scalar as a Python number; anything else as it is."""
    if isinstance(node, LazyArray) and node.size == 1:
        return node.item()
    return node.item() if isinstance(node, np.generic) else node


def numbers(node: Any) -> Any:
    """Return a setting with its scalars as Python numbers, and tuples for lists."""
    return tuple(map(numbers, node)) if isinstance(node, (list, tuple)) else number(node)
