"""What a torch optimizer expects: its rule, and which parameters of the model are in each of its groups."""

from __future__ import annotations

import torch

from ckpt_core.errors import UsageError
from ckpt_core.framework import OptimizerTemplate, Slot
from ckpt_torch.bridge.models import described, entries_of, module_of, named_slots

__all__ = ["template"]


def template(model: object, optimizer: object | None) -> OptimizerTemplate | None:
    """Return the rule and the groups of an optimizer, its parameters as slots of the model.

    Raises:
        UsageError: it is no torch optimizer, or has parameters that the model has not.
    """
    if optimizer is None:
        return None
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise UsageError(
            f"{described(optimizer)} is no torch optimizer",
            remedy="Make one: torch.optim.AdamW(model.parameters(), lr=...).",
        )
    module = module_of(model)
    slots = named_slots(module)
    by_tensor: dict[int, Slot] = {}
    for name, tensor in entries_of(module).items():
        by_tensor.setdefault(id(tensor), slots[name])
    groups = []
    for number, group in enumerate(optimizer.param_groups):
        strangers = [parameter for parameter in group["params"] if id(parameter) not in by_tensor]
        if strangers:
            raise UsageError(
                f"{len(strangers)} of the {len(group['params'])} parameters in group {number} of the optimizer "
                "are not the model's",
                remedy="Make the optimizer from this model, after it got its last layers and its device.",
            )
        groups.append(tuple(by_tensor[id(parameter)] for parameter in group["params"]))
    return OptimizerTemplate(_kind(optimizer), tuple(groups))


def _kind(optimizer: torch.optim.Optimizer) -> str:
    """The rule of torch that the optimizer is, or derives from."""
    own = vars(torch.optim)
    names = [kind.__name__ for kind in type(optimizer).__mro__[:-1] if own.get(kind.__name__) is kind]
    name = names[0].lower() if names and names[0] != "Optimizer" else ""
    is_decoupled = any(group.get("decoupled_weight_decay") for group in optimizer.param_groups)
    return "adamw" if name == "adam" and is_decoupled else name
