"""What kind a leaf, a key or a container is, and how a report names it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import itemsize, name_of
from ckpt_core.tree import Global, Index, Part, Record

__all__ = [
    "SURROGATES",
    "describe",
    "describe_key",
    "is_text",
    "kind_name",
    "kind_of",
    "kind_of_key",
    "span_of",
    "word_of",
]


SURROGATES: Final = "surrogates"
"""The kind of a text with lone surrogates, which UTF-8 has no form for; Python's pickles hold them."""


def is_text(value: str) -> bool:
    """Say whether a text has a form in UTF-8."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def word_of(key: Any) -> str:
    if type(key) is str:
        return key if is_text(key) else key.encode(errors="backslashreplace").decode()
    if isinstance(key, Index):
        return str(int(key))
    return f"<{key.name}>" if isinstance(key, Part) else str(key)


def kind_of(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, np.generic):
        return "scalar" if name_of(value.dtype) else type(value).__name__
    if type(value) is str and not is_text(value):
        return SURROGATES
    return type(value).__name__


def kind_of_key(key: Any) -> str:
    if type(key) is str and not is_text(key):
        return SURROGATES
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
    if kind_of(value) == SURROGATES:
        return "a text that is no valid Unicode"
    return "None" if value is None else f"a value of type {type(value).__name__}"


def describe_key(key: Any) -> str:
    return (
        "a key that is no valid Unicode"
        if kind_of_key(key) == SURROGATES
        else f"a key of type {type(key).__name__}"
    )


def span_of(array: LazyArray) -> tuple[int, int]:
    offset, strides = array.pieces[0].offset, array.pieces[0].strides
    if strides is None:
        return offset, offset + array.nbytes
    reach = [(size - 1) * step for size, step in zip(array.shape, strides, strict=True)]
    low = offset + sum(min(r, 0) for r in reach)
    return low, offset + sum(max(r, 0) for r in reach) + itemsize(array.dtype)
