"""Hyperparameters that a caller gives: names that the rule has, and values that it can take."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any, Final, SupportsFloat

from ckpt_core.errors import UsageError
from ckpt_core.optimizers.grouping import settings_of
from ckpt_core.optimizers.state import OptimizerState
from ckpt_core.optimizers.table import family_of, torch_rule

__all__ = ["told"]

_RATES: Final = ("lr", "learning_rate")
_OF_EVERY_RULE: Final = {"weight_decay": 0.0, "maximize": False}
"""What a chain can put around any rule of optax, and the translation gives a name."""


def told(state: OptimizerState, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters that a caller gives for a state, as plain values.

    Arguments:
        state: the state.
        kind: its rule.
        given: the hyperparameters, by the names that the rule has in the state's framework.

    Raises:
        UsageError: the rule has no such hyperparameter, or it is none that the rule can have; lists what there is.
    """
    known, is_all = _known(state, kind)
    for name in given:
        if is_all and name not in known:
            names = ", ".join(sorted(known))
            raise UsageError(
                f"{state.framework}'s {kind} has no hyperparameter {name!r} that is known here",
                remedy=f"There is: {names}." if known else "",
            )
    return {name: _plain(name, value, known.get(name)) for name, value in given.items()}


def _known(state: OptimizerState, kind: str) -> tuple[dict[str, Any], bool]:
    """The names that can be given, with a value that each can have; and whether there are no others."""
    own = {**state.hyperparams, **{k: v for group in state.groups for k, v in settings_of(group).items()}}
    if state.framework == "torch":
        rule = torch_rule(kind, state.hyperparams)
        return ({**own, **rule.defaults}, bool(rule.defaults)) if rule is not None else (own, False)
    family = family_of(kind, "optax", state.hyperparams)
    defaults = {} if family is None else family.optax_rule(kind).defaults
    if family is None or not defaults:
        return own, False
    names = [
        name
        for theirs in family.names.values()
        for name in ((theirs,) if isinstance(theirs, str) else theirs)
    ]
    return {**own, **dict.fromkeys(names), **_OF_EVERY_RULE, **defaults}, True


def _plain(name: str, value: Any, example: Any) -> Any:
    """A number for what is one, whatever library it is of."""
    if isinstance(value, (list, tuple)):
        return tuple(_plain(name, item, None) for item in value)
    if value is None or isinstance(value, (bool, int, float)):
        fits = not (value is None or isinstance(value, bool)) or name not in _RATES
    elif isinstance(value, str):
        fits = name not in _RATES and not isinstance(example, numbers.Number)
    else:
        fits = isinstance(value, SupportsFloat) and not callable(value)
        value = _number(value) if fits else value
    if not fits or (isinstance(value, str) and not value):
        more = "; a schedule goes into the optimizer that continues the run" if callable(value) else ""
        raise UsageError(f"{name} is a number, not {value!r}{more}")
    return value


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the hyperparameter {value!r} is no number") from error
