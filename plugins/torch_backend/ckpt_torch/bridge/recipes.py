"""Live torch optimizers: made from recipes, and filled in every slot's own dtype."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UsageError
from ckpt_core.families.recipe import Call, Name, function_named
from ckpt_core.optimizers.table import torch_rules
from ckpt_core.tree import map_with_path
from ckpt_torch.bridge.arrays import to_torch

__all__ = ["build", "load"]


def build(recipe: Call, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Make a recipe live over a model's parameters.

    Raises:
        UsageError: the model lacks a parameter that the recipe names.
        UnsupportedError: the installed torch has no such optimizer, or no family of rules knows it.
    """
    function = function_named(recipe.function, {rule.function for rule in torch_rules()})
    named = {name.replace(".", "/"): param for name, param in model.named_parameters(remove_duplicate=False)}

    def live(value: Any) -> Any:
        if isinstance(value, Name):
            if value.value not in named:
                raise UsageError(f"the model has no parameter {value.value}")
            return named[value.value]
        if isinstance(value, Mapping):
            return {key: live(child) for key, child in value.items()}
        return [live(child) for child in value] if isinstance(value, list) else value

    made: torch.optim.Optimizer = function(*map(live, recipe.args), **recipe.kwargs)
    return made


def load(optimizer: torch.optim.Optimizer, native: Any) -> None:
    """Load a state dict with LazyArrays into an optimizer, each slot in the dtype that it was saved in.

    `load_state_dict` casts slots to the parameter's dtype, which loses float32 moments of bfloat16 parameters; they are
    put in afterwards as they are.
    """
    state = map_with_path(lambda _, leaf: to_torch(leaf) if isinstance(leaf, LazyArray) else leaf, native)
    optimizer.load_state_dict(state)
    params = [param for group in optimizer.param_groups for param in group["params"]]
    for id, entry in state["state"].items():
        held = optimizer.state[params[id]]
        for name, value in entry.items():
            if isinstance(value, torch.Tensor) and name != "step" and held[name].dtype != value.dtype:
                held[name] = value.to(params[id].device)
