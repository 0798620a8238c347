"""The framework that a live model is of."""

from __future__ import annotations

from typing import Any

from ckpt_core.errors import UsageError
from ckpt_core.framework import Framework
from ckpt_core.registry import registry
from ckpt_core.tree import flatten

__all__ = ["framework_for", "owner_of"]


def owner_of(model: Any) -> Framework | None:
    """Return the framework that a live model is of; None for a path, a tree of specs and the like."""
    frameworks = [framework for _, framework in registry().frameworks]
    for framework in frameworks:
        if framework.owns(model):
            return framework
    if isinstance(model, (dict, list, tuple)):  # variables: what their leaves are
        for framework in frameworks:
            if any(framework.spec(leaf) is not None for _, leaf in flatten(model)):
                return framework
    return None


def framework_for(model: Any) -> Framework:
    """Return the framework that a live model is of.

    Raises:
        UsageError: it is none of any; says how to make one.
    """
    framework = owner_of(model)
    if framework is not None:
        return framework
    kind = "None" if model is None else f"a {type(model).__module__}.{type(model).__qualname__}"
    raise UsageError(
        f"{kind} is no live model of a framework",
        remedy="Make one first: torch: model = Net(...); NNX: model = Net(..., rngs=nnx.Rngs(0)); linen: "
        "variables = Net(...).init(jax.random.key(0), INPUTS). Arrays alone: open_checkpoint(PATH).params.load().",
    )
