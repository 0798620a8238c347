"""Comparing trees exactly: kinds of containers, order of keys, types of values, bits of arrays."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.tree import KeyPath, Record, children, render_path

__all__ = ["differences"]


def differences(expected: Any, actual: Any, *, ordered: bool = True) -> list[str]:
    """Say in what two trees differ, one line each; no line means that they are the same to the bit.

    Arguments:
        expected, actual: the trees.
        ordered: the order of keys counts.
    """
    found: list[str] = []
    stack: list[tuple[KeyPath, Any, Any]] = [((), expected, actual)]
    while stack:
        path, left, right = stack.pop()
        place = render_path(path) or "(the whole)"
        pairs, others = children(left), children(right)
        if pairs is None or others is None:
            if pairs is not others or not same_leaf(left, right):
                found.append(f"{left!r} became {right!r} @ {place}")
            continue
        if _kind(left) != _kind(right):
            found.append(f"{_kind(left)} became {_kind(right)} @ {place}")
        keys, other_keys = [_typed(key) for key, _ in pairs], [_typed(key) for key, _ in others]
        if not ordered:
            keys, other_keys = sorted(keys, key=repr), sorted(other_keys, key=repr)
        if keys != other_keys:
            found.append(f"the keys {keys[:20]} became {other_keys[:20]} @ {place}")
            continue
        matching = {_typed(key): child for key, child in others}
        stack.extend([((*path, key), child, matching[_typed(key)]) for key, child in reversed(pairs)])
    return found


def _kind(node: Any) -> str:
    return f"Record {node.type_name}" if isinstance(node, Record) else type(node).__name__


def _typed(key: Any) -> tuple[str, Any]:
    return type(key).__name__, key


def same_leaf(left: Any, right: Any) -> bool:
    """Say whether two leaves are the same, NaN payloads and signs of zero included."""
    if isinstance(left, LazyArray) and isinstance(right, LazyArray):
        return left.spec == right.spec and bool(left.read().tobytes() == right.read().tobytes())
    if type(left) is not type(right):
        return False
    if isinstance(left, np.generic):
        return bool(left.dtype == right.dtype) and left.tobytes() == right.tobytes()
    if isinstance(left, float):
        return struct.pack("<d", left) == struct.pack("<d", right)
    if isinstance(left, complex):
        return struct.pack("<2d", left.real, left.imag) == struct.pack("<2d", right.real, right.imag)
    return bool(left == right)
