"""Weights alone, a whole module, an optimizer alone: trees that are one thing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.layouts.base import Layout, Parts, Roles
from ckpt_core.layouts.parts import joined_names, without
from ckpt_core.layouts.spelling import spelled_role
from ckpt_core.layouts.values import (
    has_array,
    has_value,
    is_module,
    is_optimizer,
    is_scripted,
    is_state_dict,
    is_streams,
)
from ckpt_core.tree import flatten, render_path

__all__ = ["ModuleLayout", "OptimizerAlone", "StateDict"]


class ModuleLayout(Layout):
    """A whole pickled torch module, or a TorchScript program's."""

    name = "module"
    describes = "a whole torch module, pickled or in TorchScript"
    is_general = True

    def recognise(self, tree: Any) -> Roles | None:
        if is_module(tree):
            return Roles(params=((),), notes=_about_attributes(tree))
        return Roles(params=((),)) if is_scripted(tree) else None


def _about_attributes(module: Any) -> tuple[str, ...]:
    """Say how many arrays a module and those in it keep as attributes alone, which are no part of a state dict."""
    arrays = [(path, leaf) for path, leaf in flatten(module) if isinstance(leaf, LazyArray)]
    own = {leaf.identity for path, leaf in arrays if "_parameters" in path or "_buffers" in path}
    found = [render_path(path) for path, leaf in arrays if leaf.identity not in own]
    if not found:
        return ()
    count = f"{len(found)} arrays are attributes" if len(found) > 1 else "an array is an attribute"
    return (f"{count} of modules, neither parameters nor buffers: {found[0]}{', ...' if found[1:] else ''}",)


class OptimizerAlone(Layout):
    """An optimizer's state dict, saved in a file of its own."""

    name = "optimizer"
    describes = "a torch optimizer's state dict alone"
    is_general = True

    def recognise(self, tree: Any) -> Roles | None:
        return Roles(opt_states={"optimizer": ()}) if is_optimizer(tree) else None


class StateDict(Layout):
    """Weights alone: a flat torch state dict, or a nested tree of arrays."""

    name = "state_dict"
    describes = "weights alone, by name"
    is_general = True

    def recognise(self, tree: Any) -> Roles | None:
        if is_state_dict(tree):
            return Roles(params=((),))
        return Roles(params=((),)) if _is_weights_alone(tree) else None

    def build(self, parts: Parts) -> tuple[Any, tuple[str, ...]]:
        return joined_names(parts.params, parts.buffers), without(parts, "params buffers")


def _is_weights_alone(tree: Any) -> bool:
    """Say whether it is a model's nested weights: arrays under names of its own, and no value beside them."""
    if not isinstance(tree, Mapping) or not has_array(tree) or not all(isinstance(key, str) for key in tree):
        return False
    roles = {key: spelled_role(key, value) for key, value in tree.items()}
    if "params" not in roles.values():  # a module may hold the random streams of its layers under such a name
        roles = {key: None if is_streams(tree[key]) else role for key, role in roles.items()}
    if list(roles) == ["module"] and not is_state_dict(tree["module"]):
        # one segment that a wrapper put before all names, and not a key for a state dict
        return not has_value(tree)
    if any(role not in (None, "params") for role in roles.values()):
        return False
    if any(roles.values()) and all(roles[key] or not has_array(value) for key, value in tree.items()):
        return False  # every array lies under a key for a model's weights: `{'model': ...}`
    return not has_value(tree)
