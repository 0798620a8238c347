"""The hooks that a plugin implements, and the marker for doing so.

A plugin is a module or an object that an entry point in the group `ckpt_core` names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from ckpt_core.backend import Backend
    from ckpt_core.families import Family
    from ckpt_core.framework import Framework
    from ckpt_core.layers import Layer
    from ckpt_core.layouts.base import Layout
    from ckpt_core.pickles import Constructor
    from ckpt_core.shapes import ShapeRules
    from ckpt_core.source import Source

__all__ = [
    "ckpt_core_backends",
    "ckpt_core_constructors",
    "ckpt_core_frameworks",
    "ckpt_core_layers",
    "ckpt_core_layouts",
    "ckpt_core_optimizers",
    "ckpt_core_rules",
    "hookimpl",
]

hookspec = pluggy.HookspecMarker("ckpt_core")
hookimpl = pluggy.HookimplMarker("ckpt_core")


@hookspec
def ckpt_core_backends() -> Iterable[Backend]:
    """Return the backends (objects) that this plugin brings."""
    raise NotImplementedError


@hookspec
def ckpt_core_layouts() -> Iterable[Layout]:
    """Return the layouts (objects) that this plugin recognises."""
    raise NotImplementedError


@hookspec
def ckpt_core_frameworks() -> Iterable[Framework]:
    """Return the frameworks (objects) whose live models and optimizers this plugin knows."""
    raise NotImplementedError


@hookspec
def ckpt_core_rules() -> Iterable[ShapeRules]:
    """Return shape rules, one set for each family of models that this plugin knows; each has a name of its own.

    A set is used where nothing else was asked for and all its patterns fit a checkpoint's arrays.
    """
    raise NotImplementedError


@hookspec
def ckpt_core_layers() -> Iterable[Layer]:
    """Return rows of the table of layers: how the arrays of a torch layer become those of a Flax layer.

    They are asked before the built-in ones.
    """
    raise NotImplementedError


@hookspec
def ckpt_core_optimizers() -> Iterable[Family]:
    """Return families of update rules: what optimizers of torch and optax keep, and how a state of one becomes one of
    the other.

    They are asked before the built-in ones.
    """
    raise NotImplementedError


@hookspec
def ckpt_core_constructors() -> Iterable[Callable[[Source], Mapping[str, Constructor]]]:
    """Return functions that say, for one file, what a pickle in it may construct as data, by dotted name.

    It adds to the closed table of plain values, numpy and jax for pickles outside of a backend's own
    containers. A constructor interprets its arguments; it never imports or calls what the file names.
    """
    raise NotImplementedError
