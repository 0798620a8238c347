"""Equinox's `.eqx` as its reader gives it: the leaves by position, and the hyperparameters of the first line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.layouts.base import Layout, Roles

__all__ = ["Equinox"]

_LEAVES: Final = "leaves"
_SETTINGS: Final = "hyperparameters"


class Equinox(Layout):
    """`{'hyperparameters': ..., 'leaves': [...]}`: the file has no names, only an order."""

    name = "equinox"
    describes = "Equinox: leaves by position, and hyperparameters"

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or not isinstance(tree.get(_LEAVES), list):
            return None
        if not tree.keys() <= {_LEAVES, _SETTINGS}:
            return None
        settings = tree.get(_SETTINGS)
        return Roles(
            params=((_LEAVES,),),
            config={"": (_SETTINGS,)} if isinstance(settings, Mapping) else {},
            notes=("the file names no weights: they are numbered in the order of the model's leaves",),
        )
