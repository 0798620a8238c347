"""What kind a leaf, a key or a container is, and how a report names it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import itemsize
from ckpt_core.tree import Global, Index, Part, Record

__all__ = ["describe", "describe_key", "kind_name", "kind_of", "kind_of_key", "span_of", "word_of"]


def word_of(key: Any) -> str:
    if type(key) is str:
        return key
    if isinstance(key, Index):
        return str(int(key))
    return f"<{key.name}>" if isinstance(key, Part) else str(key)


def kind_of(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, np.generic):
        return "scalar"
    return type(value).__name__


def kind_of_key(key: Any) -> str:
    return "None" if key is None else type(key).__name__


def kind_name(node: Any) -> str:
    return node.type_name if isinstance(node, Record) else type(node).__name__


def describe(value: Any) -> str:
    if isinstance(value, np.generic):
        return f"a numpy {value.dtype} scalar"
    if isinstance(value, (dict, list, tuple)):
        return f"an empty {kind_name(value)}"
    if isinstance(value, Global):
        return f"a reference to {value.name}"
    return "None" if value is None else f"a value of type {type(value).__name__}"


def describe_key(key: Any) -> str:
    return f"a key of type {type(key).__name__}"


def span_of(array: LazyArray) -> tuple[int, int]:
    offset, strides = array.pieces[0].offset, array.pieces[0].strides
    if strides is None:
        return offset, offset + array.nbytes
    reach = [(size - 1) * step for size, step in zip(array.shape, strides, strict=True)]
    low = offset + sum(min(r, 0) for r in reach)
    return low, offset + sum(max(r, 0) for r in reach) + itemsize(array.dtype)
