"""Free-form state of torch modules: what `get_extra_state` returns, saved among the weights.

A state dict keeps it under the module's name and `_extra_state` (`torch/nn/modules/module.py`,
`_EXTRA_STATE_KEY_SUFFIX`): a plain value, a tensor, or an object of any class. It is no weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ckpt_core.keypath import join_name, split_name
from ckpt_core.schema import Checkpoint
from ckpt_core.tree import get

__all__ = ["EXTRA_STATE", "extra_states", "is_extra_state", "is_in_extra_state"]

EXTRA_STATE: Final = "_extra_state"


def is_extra_state(name: str) -> bool:
    """Say whether a name, its segments joined by `/` or by `.`, is that of free-form state."""
    return name.endswith(EXTRA_STATE) and name.removesuffix(EXTRA_STATE)[-1:] in {"", ".", "/"}


def is_in_extra_state(name: str) -> bool:
    """Say whether an array's name, its segments joined by `/`, lies in free-form state."""
    return EXTRA_STATE in name and any(is_extra_state(part) for part in split_name(name))


def extra_states(ckpt: Checkpoint) -> dict[str, Any]:
    """Return the free-form states of a flat state dict as they were saved, by name."""
    found: dict[str, Any] = {}
    for path in ckpt.roles.params:
        node = get(ckpt.tree, path) if isinstance(path, tuple) else None
        if isinstance(node, Mapping):
            for key, value in node.items():
                if isinstance(key, str) and is_extra_state(key):
                    found[join_name(tuple(key.split(".")))] = value
    return found
