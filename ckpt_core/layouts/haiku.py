"""Haiku's parameters: `{'mlp/~/linear_0': {'w': ..., 'b': ...}}`, alone or beside a state of the same form."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.layouts.base import Layout, Leaves, Roles
from ckpt_core.layouts.spelling import claim_by_spelling
from ckpt_core.layouts.values import array_of
from ckpt_core.tree import KeyPath

__all__ = ["Haiku", "averages_alone"]

_PARAMS: Final = ("params", "parameters", "hk_params")
_AVERAGE: Final = frozenset({"counter", "hidden", "average"})
"""What `hk.ExponentialMovingAverage` keeps (`haiku/_src/moving_averages.py`)."""

_STATES: Final = ("state", "hk_state", "net_state", "model_state")


class Haiku(Layout):
    """Two levels: the path of a module, with `~` for its constructor, and the name of an array in it."""

    name = "haiku"
    describes = "Haiku: {'mlp/~/linear_0': {'w', 'b'}}, alone or as params beside state"

    def recognise(self, tree: Any) -> Roles | None:
        if _is_haiku(tree):
            return Roles(params=(_leaves(tree, ()),))
        if not isinstance(tree, Mapping):
            return None
        key = next((key for key in _PARAMS if _is_haiku(tree.get(key))), None)
        if key is None:
            return None
        states = [name for name in _STATES if name in tree and _is_two_levels(tree[name])]
        rest = {name: value for name, value in tree.items() if name not in (key, *states)}
        return dataclasses.replace(
            claim_by_spelling(rest),
            params=(_leaves(tree[key], (key,)),),
            buffers=tuple(_leaves(tree[name], (name,)) for name in states if tree[name]),
        )


def averages_alone(node: Any) -> Roles | None:
    """Return the roles of a state that a file has beside the parameters: the moving averages of normalisations."""
    if not _is_two_levels(node) or not node or any(arrays.keys() != _AVERAGE for arrays in node.values()):
        return None
    return Roles(buffers=(_leaves(node, ()),))


def _is_two_levels(node: Any) -> bool:
    return isinstance(node, Mapping) and all(
        isinstance(module, str)
        and isinstance(arrays, Mapping)
        and all(isinstance(name, str) and array_of(array) is not None for name, array in arrays.items())
        for module, arrays in node.items()
    )


def _is_haiku(node: Any) -> bool:
    """Say whether it has Haiku's two levels and, in some module's path, a `~` or a module within a module."""
    return _is_two_levels(node) and any("/" in module for module in node) and any(node.values())


def _leaves(node: Mapping[str, Mapping[str, Any]], path: KeyPath) -> Leaves:
    return Leaves(
        {
            (*module.split("/"), name): (*path, module, name)
            for module, arrays in node.items()
            for name in arrays
        },
        within=path,
    )
