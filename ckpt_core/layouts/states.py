"""Several states of training in one dict: `{"actor": {"params", "opt_state"}, "critic": {...}, "target": ...}`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ckpt_core.aliases import resolved
from ckpt_core.layouts.base import Layout, Roles, below, merged
from ckpt_core.layouts.files import named_apart
from ckpt_core.layouts.spelling import claim_by_value, claim_with_descriptions, spelled_role
from ckpt_core.layouts.values import is_module, is_optimizer, is_state_dict, is_weights

__all__ = ["States"]


class States(Layout):
    """States of training under names of the author's choice, each with weights and an optimizer of its own.

    Weights beside them that have no optimizer, such as a target network's, count among the weights.
    """

    name = "states"
    describes = "several states of training under names: each has weights and the state of an optimizer"
    is_general = True

    def recognise(self, tree: Any) -> Roles | None:
        if not isinstance(tree, Mapping) or is_module(tree) or is_state_dict(tree):
            return None
        entries = {key: _resolved(tree, value) for key, value in tree.items()}
        found = {key: roles for key, value in entries.items() if (roles := _of_state(key, value))}
        if not found:
            return None
        rest = {key: value for key, value in entries.items() if key not in found}
        beside = claim_with_descriptions(rest)
        placed = {key: below(roles, (key,)) for key, roles in found.items()}
        others = beside.params or claim_by_value(rest, beside)
        return dataclasses.replace(
            merged(beside, *placed.values()),
            params=(*(place for roles in placed.values() for place in roles.params), *others),
            **named_apart({"": beside, **placed}),
        )


def _resolved(tree: Any, node: Any) -> Any:
    """An entry, and its own entries, without aliases: at first a target network is the network itself."""
    node = resolved(tree, node)
    return {key: resolved(tree, value) for key, value in node.items()} if type(node) is dict else node


def _of_state(key: Any, value: Any) -> Roles | None:
    """The roles within an entry that has weights and the state of their optimizer."""
    if not isinstance(key, str) or not is_weights(value) or is_module(value) or is_state_dict(value):
        return None
    if is_optimizer(value) or spelled_role(key, value) not in (None, "params"):
        return None
    roles = claim_with_descriptions(value)
    if not roles.opt_states:
        return None
    params = roles.params or claim_by_value(value, roles)
    return dataclasses.replace(roles, params=params) if params else None
