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
from ckpt_core.optimizers.kinds import named_in
from ckpt_core.optimizers.naming import Weight
from ckpt_core.optimizers.optax_state import read_optax
from ckpt_core.optimizers.state import Home, OptimizerState
from ckpt_core.optimizers.torch_state import read_torch

__all__ = ["describe", "described", "identified", "read_optimizer", "read_optimizers"]


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


def described(state: OptimizerState, description: Any) -> OptimizerState:
    """Return the state with the rule and the hyperparameters that a saved description names.

    Arguments:
        state: a state that was read.
        description: what `describe` wrote beside it; anything that contradicts the state is passed over.
    """
    if not isinstance(description, Mapping) or description.get("framework") != state.framework:
        return state
    kind, groups = description.get("kind"), description.get("groups")
    if not isinstance(kind, list) or not isinstance(groups, list) or not set(kind) <= set(state.kind or kind):
        return state
    rows = [row for row in groups if isinstance(row, Mapping) and isinstance(row.get("params"), list)]
    if len(rows) < len(groups):
        return state
    state = dataclasses.replace(state, home=_home(description.get("home")))
    if not rows:
        return state
    found = tuple({**_tupled(row), "params": tuple(row["params"])} for row in rows)
    first = {key: value for key, value in found[0].items() if key not in ("params", "label", "kind")}
    return dataclasses.replace(
        state,
        kind=tuple(str(name) for name in kind),
        hyperparams={**first, **state.hyperparams},
        groups=found if state.framework == "optax" else state.groups,
    )


def describe(state: OptimizerState) -> dict[str, Any]:
    """Return the rule and the hyperparameters of a state as JSON: what an optax state alone does not say."""
    home = state.home
    if home is not None:
        kept = {"framework": home.framework, "kind": home.kind, "groups": _rows(home.groups)}
        kept |= {"has_names": home.has_names, "step_dtype": home.step_dtype}
    return {
        "framework": state.framework,
        "kind": list(state.kind),
        "groups": _rows(state.groups),
        **({} if home is None else {"home": kept}),
    }


def _rows(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The groups as JSON; settings that are none (a project's own objects) are left out."""
    return [
        {**{key: value for key, value in group.items() if _is_json(value)}, "params": list(group["params"])}
        for group in groups
    ]


def _is_json(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_json(item) for item in value)
    return value is None or type(value) in (bool, int, float, str)


def _home(saved: Any) -> Home | None:
    """What `describe` wrote of where a state came from; None for anything else."""
    if not isinstance(saved, Mapping) or not isinstance(saved.get("groups"), list):
        return None
    rows = [
        row for row in saved["groups"] if isinstance(row, Mapping) and isinstance(row.get("params"), list)
    ]
    if len(rows) < len(saved["groups"]) or saved.get("step_dtype") not in ("float32", "float64"):
        return None
    groups = tuple({**_tupled(row), "params": tuple(map(str, row["params"]))} for row in rows)
    has_names = saved.get("has_names") is True
    return Home(str(saved.get("framework")), str(saved.get("kind")), groups, has_names, saved["step_dtype"])


def _tupled(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}


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
        UsageError: the state cannot be of that kind; names the ones it can be of.
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
    more = dict(hyperparams or {})
    return dataclasses.replace(
        state,
        kind=kinds,
        hyperparams={**state.hyperparams, **more},
        groups=tuple({**group, **more} for group in state.groups),
    )
