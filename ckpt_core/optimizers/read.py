"""Read an optimizer's state, as a torch state dict or an optax state, into neutral slots.

Files do not always say which rule wrote them: `kind` lists the candidates that the slots and the
hyperparameters allow, and is never narrowed by a guess.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ckpt_core.errors import UsageError
from ckpt_core.layouts.values import is_optimizer
from ckpt_core.optimizers.describing import described
from ckpt_core.optimizers.kinds import named_in
from ckpt_core.optimizers.naming import Weight
from ckpt_core.optimizers.optax_state import read_optax
from ckpt_core.optimizers.state import OptimizerState
from ckpt_core.optimizers.telling import told
from ckpt_core.optimizers.torch_state import read_torch

__all__ = ["identified", "read_optimizer", "read_optimizers"]


def read_optimizer(
    native: Any,
    weights: Sequence[Weight] | None = None,
    *,
    names: Sequence[str] | Mapping[Any, str] | None = None,
) -> OptimizerState:
    """Return the neutral state of a torch optimizer's state dict or an optax state.

    Arguments:
        native: the state, as a checkpoint's tree holds it.
        weights: the model's parameters in order, tied ones once (`parameters_of`). torch's state dicts count
            parameters, so that names follow from these where none are saved.
        names: the names of the parameters in the order of torch's groups, or by id, where the caller knows them.

    Example:
        >>> read_optimizer({"state": {}, "param_groups": [{"lr": 0.1, "momentum": 0.9, "nesterov": False,
        ...     "dampening": 0, "params": [0]}]}, [Weight("w", (2,))]).groups
        ({'lr': 0.1, 'momentum': 0.9, 'nesterov': False, 'dampening': 0, 'params': ('w',)},)
    """
    if is_optimizer(native):
        return read_torch(native, weights, names)
    return read_optax(native)


def read_optimizers(
    name: str,
    node: Any,
    weights: Sequence[Weight] | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    descriptions: Any = None,
) -> dict[str, OptimizerState]:
    """Return the states below one key of a checkpoint by name: `name`, or `name[...]` where torch saved several.

    Arguments:
        name: the key.
        node: what is there.
        weights: the model's parameters in order, tied ones once.
        config: the checkpoint's config, which may name the rule.
        descriptions: what `describe` wrote for each name.
    """
    pairs: list[tuple[str, Any]] = [(name, node)]
    if isinstance(node, Mapping) and node and all(is_optimizer(item) for item in node.values()):
        pairs = [(f"{name}[{key}]", item) for key, item in node.items()]
    elif isinstance(node, list) and node and all(is_optimizer(item) for item in node):
        pairs = [(f"{name}[{i}]" if len(node) > 1 else name, item) for i, item in enumerate(node)]
    known = descriptions if isinstance(descriptions, Mapping) else {}
    found = {}
    for key, item in pairs:
        state = described(read_optimizer(item, weights), known.get(key))
        found[key] = identified(state, config=config) if len(pairs) == 1 else state
    return found


def identified(
    state: OptimizerState,
    *,
    kind: str | None = None,
    config: Mapping[str, Any] | None = None,
    hyperparams: Mapping[str, Any] | None = None,
) -> OptimizerState:
    """Return the state with its rule settled: by the caller, else by the saved config.

    Arguments:
        state: a state that was read.
        kind: the rule, where the caller knows it.
        config: the checkpoint's config, whose `optimizer` entry may name the rule.
        hyperparams: hyperparameters in the framework's own names, for all groups; they override what was read.

    Raises:
        UsageError: the state cannot be of that kind, or has no such hyperparameter; names those that are possible.
    """
    kinds = state.kind
    if kind is not None:
        if kinds and kind not in kinds:
            raise UsageError(
                f"the optimizer state cannot be of the rule {kind!r}",
                remedy=f"What it keeps fits {', '.join(kinds)}.",
            )
        kinds = (kind,)
    elif config and len(kinds) > 1:
        kinds = named_in(config, kinds)
    more = told(state, kinds[0], hyperparams) if hyperparams and len(kinds) == 1 else dict(hyperparams or {})
    return dataclasses.replace(
        state,
        kind=kinds,
        hyperparams={**state.hyperparams, **more},
        groups=tuple({**group, **more} for group in state.groups),
    )
