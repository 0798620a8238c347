"""What a state alone does not say, as JSON beside it: its rule, its hyperparameters, and where it came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import to_numpy
from ckpt_core.errors import CheckpointError, DamagedFileError
from ckpt_core.fitting import neutral
from ckpt_core.layouts.values import has_array, is_plain, number
from ckpt_core.optimizers.optax_state import BARE, MASKED
from ckpt_core.optimizers.state import Home, OptimizerState
from ckpt_core.tree import KeyPath

__all__ = ["describe", "described"]

_COUNTERS: Final = ("float32", "float64")


def describe(state: OptimizerState) -> dict[str, Any]:
    """Return the rule and the hyperparameters of a state as JSON: what an optax state alone does not say."""
    made = {
        "framework": state.framework,
        "kind": list(state.kind),
        "groups": [
            {
                **{key: value for key, value in group.items() if _is_json(value)},
                "params": list(group["params"]),
            }
            for group in state.groups
        ],
    }
    if state.home is not None:
        made["home"] = _encoded(state.home)
    return made


def described(state: OptimizerState, description: Any) -> OptimizerState:
    """Return the state with the rule and the hyperparameters that a saved description names.

    Arguments:
        state: a state that was read.
        description: what `describe` wrote beside it; anything that contradicts the state is passed over.
    """
    if not isinstance(description, Mapping) or description.get("framework") != state.framework:
        return state
    kind, groups = description.get("kind"), _groups(description.get("groups"))
    if not isinstance(kind, list) or groups is None or not set(kind) <= set(state.kind or kind):
        return state
    state = dataclasses.replace(state, home=_decoded(description.get("home")))
    if not groups:
        return state
    first = {key: value for key, value in groups[0].items() if key not in ("params", "label", "kind")}
    untold = [note for note in state.notes if note != MASKED and not note.startswith(BARE)]
    return dataclasses.replace(
        state,
        notes=tuple(untold),
        kind=tuple(str(name) for name in kind),
        hyperparams={**first, **state.hyperparams},
        groups=groups if state.framework == "optax" else state.groups,
    )


def _is_json(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_json(item) for item in value)
    return value is None or type(value) in (bool, int, float, str)


def _groups(rows: Any) -> tuple[dict[str, Any], ...] | None:
    """Groups as mappings, their lists as tuples; None where it is none."""
    if not isinstance(rows, Sequence) or not all(_is_group(row) for row in rows):
        return None
    return tuple(
        {str(key): tuple(value) if isinstance(value, list) else value for key, value in row.items()}
        for row in rows
    )


def _is_group(row: Any) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get("params"), (list, tuple))


# Where it came from, in the neutral JSON form of a tree: types as they were, tensors of one number as such.


def _encoded(home: Home) -> Any:
    """What is no plain value (a project's own objects among the settings) is left out."""
    fields = {field.name: getattr(home, field.name) for field in dataclasses.fields(home)}
    fields["groups"] = [{k: v for k, v in group.items() if _is_kept(v)} for group in home.groups]
    fields["schedulers"] = {name: saved for name, saved in home.schedulers.items() if _is_kept(saved)}
    return neutral.encode(fields, _one_number)


def _is_kept(value: Any) -> bool:
    return is_plain(value) and not has_array(value, lambda array: array.size != 1)


def _one_number(_: KeyPath, array: LazyArray) -> Mapping[str, Any]:
    return {"dtype": array.dtype, "shape": list(array.shape), "value": neutral.encode_value(number(array))}


def _array(path: KeyPath, fields: Mapping[str, Any]) -> LazyArray:
    value = neutral.decode(fields.get("value"), _array)
    try:
        made = np.asarray(value, to_numpy(str(fields.get("dtype")))).reshape(fields["shape"])
    except (TypeError, ValueError, KeyError):
        raise DamagedFileError("is no array of one number", place=str(path)) from None
    return LazyArray.from_numpy(made)


def _decoded(saved: Any) -> Home | None:
    """What `describe` wrote of where a state came from; None for anything else."""
    try:
        fields = neutral.decode(saved, _array) if isinstance(saved, Mapping) else {}
    except CheckpointError:
        return None
    groups, schedulers = fields.get("groups"), fields.get("schedulers")
    if not isinstance(groups, list) or not all(_is_group(row) for row in groups):
        return None
    if fields.get("step_dtype") not in _COUNTERS or not isinstance(schedulers, Mapping):
        return None
    rows = tuple({**row, "params": tuple(map(str, row["params"]))} for row in groups)
    kind, framework = str(fields.get("kind")), str(fields.get("framework"))
    return Home(framework, kind, rows, fields.get("has_names") is True, fields["step_dtype"], schedulers)
