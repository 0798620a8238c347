"""torch optimizers' state dicts as neutral states, and back.

The layout is `torch.optim.Optimizer.state_dict`'s: `{"state": {id: slots}, "param_groups": [...]}`, ids counted over
the groups. https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.state_dict.html
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UnsupportedError, UsageError
from ckpt_core.keypath import split_name
from ckpt_core.layouts.values import array_of, number
from ckpt_core.optimizers.kinds import TORCH_SLOTS, torch_kinds
from ckpt_core.optimizers.naming import Naming, Weight, by_order, by_saved_names
from ckpt_core.optimizers.state import OptimizerState
from ckpt_core.tree import render_key
from ckpt_core.view import nest

__all__ = ["in_groups", "read_torch", "torch_native"]

_TORCH_NAMES = {
    "adamax": {"nu": "exp_inf"},
    "rmsprop": {"mu": "grad_avg", "nu": "square_avg"},
    "adadelta": {"nu": "square_avg"},
    "asgd": {"averaging_weight": "mu"},
}
_COMMON_NAMES = {
    "mu": "exp_avg",
    "nu": "exp_avg_sq",
    "nu_max": "max_exp_avg_sq",
    "trace": "momentum_buffer",
    "sum_of_squares": "sum",
    "e_x": "acc_delta",
    "v_row": "row_var",
    "v_col": "col_var",
    "v": "variance",
    "step_sizes": "step_size",
    "prev_grads": "prev",
}
_OTHERWISE_SHAPED = frozenset({"v_row", "v_col", "mu_product", "eta", "averaging_weight"})

STEPLESS = frozenset({"sgd", "muon", "lion"})
"""Rules for which torch keeps no step."""

EAGER = frozenset({"adagrad"})
"""Rules whose state exists before the first step."""


def read_torch(
    native: Mapping[str, Any],
    weights: Sequence[Weight] | None = None,
    names: Sequence[str] | Mapping[Any, str] | None = None,
) -> OptimizerState:
    """Read a torch optimizer's state dict.

    Arguments:
        native: the state dict.
        weights: the model's parameters in order, tied ones once; what names follow from where none are saved.
        names: the parameters' names in the order of the groups, or by id, where the caller knows them.

    Raises:
        UsageError: `names` has not one name for each parameter.
    """
    entries = native["state"] if isinstance(native["state"], Mapping) else {}
    saved_groups = [dict(group) for group in native["param_groups"] if isinstance(group, Mapping)]
    hyperparams = _hyperparams(saved_groups[0]) if saved_groups else {}
    found = _Entries(entries)
    kind = torch_kinds(found.names, hyperparams)
    ids = [list(group.get("params") or ()) for group in saved_groups]
    naming = _given(names, ids) or _naming(saved_groups, ids, found.shapes(), weights)
    notes = (f"parameters are known by position only: {naming.reason}",) if naming.reason else ()
    slots = {name: _named(slot, naming) for name, slot in found.slots.items()}
    groups = tuple(
        {**_hyperparams(group), "params": tuple(naming.names.get(id, id) for id in members)}
        for group, members in zip(saved_groups, ids, strict=True)
    )
    steps = {str(naming.names.get(id, id)): step for id, step in found.steps.items()}
    differ = len(set(steps.values())) > 1
    return OptimizerState(
        kind,
        hyperparams,
        max(steps.values(), default=None),
        slots,
        groups,
        None,
        native,
        "torch",
        steps if differ else {},
        found.other,
        notes,
    )


class _Entries:
    """What the parameters' entries hold: slots by neutral name, steps, and what is neither."""

    def __init__(self, entries: Mapping[Any, Any]) -> None:
        self.names: set[str] = set()
        self.slots: dict[str, dict[Any, LazyArray]] = {}
        self.steps: dict[Any, int] = {}
        self.other: dict[str, Any] = {}
        for id, entry in entries.items():
            if isinstance(entry, Mapping):
                self._take(id, entry)
            else:
                self.other[f"state/{render_key(id)}"] = entry

    def _take(self, id: Any, entry: Mapping[Any, Any]) -> None:
        flat = (
            "old_dirs" in entry or "func_evals" in entry
        )  # LBFGS keeps one entry for all parameters together
        for key, value in entry.items():
            name = str(key)
            array = array_of(value)
            if name == "step" and _count(value) is not None:
                self.steps[id] = _count(value) or 0
                continue
            if value is None:
                continue
            self.names.add(name)
            if array is None or flat:
                self.other[f"state/{render_key(id)}/{render_key(key)}"] = value
            else:
                self.slots.setdefault(TORCH_SLOTS.get(name, name), {})[id] = array
        if "acc_delta" in entry and "nu" in self.slots and id in self.slots["nu"]:
            self.slots.setdefault("e_g", {})[id] = self.slots["nu"].pop(id)
            if not self.slots["nu"]:
                del self.slots["nu"]

    def shapes(self) -> dict[Any, tuple[int, ...]]:
        """The shapes of the parameters, as far as their slots tell."""
        shapes = {}
        for name, slot in self.slots.items():
            if name not in _OTHERWISE_SHAPED:
                shapes.update({id: array.shape for id, array in slot.items()})
        rows, columns = self.slots.get("v_row", {}), self.slots.get("v_col", {})
        for id in rows.keys() & columns.keys():
            if rows[id].ndim > 1 and columns[id].ndim > 1:
                shapes[id] = (*rows[id].shape[:-1], columns[id].shape[-1])
        return shapes


def _given(names: Sequence[str] | Mapping[Any, str] | None, ids: list[list[Any]]) -> Naming | None:
    if names is None:
        return None
    flat = [id for group in ids for id in group]
    if isinstance(names, Mapping):
        missing = [id for id in flat if id not in names]
        if missing:
            raise UsageError(f"no name is given for the parameters {missing[:8]} of the optimizer")
        return Naming(dict(names))
    if len(names) != len(flat):
        raise UsageError(f"{len(names):,} names are given for {len(flat):,} parameters of the optimizer")
    return Naming(dict(zip(flat, names, strict=True)))


def _naming(
    groups: Sequence[Mapping[str, Any]],
    ids: list[list[Any]],
    shapes: Mapping[Any, tuple[int, ...]],
    weights: Sequence[Weight] | None,
) -> Naming:
    saved = by_saved_names(groups)
    if saved is not None:
        return _matched(saved, shapes, weights)
    if not weights:
        return Naming({}, "the file names none, and holds no weights that could")
    return by_order(ids, shapes, weights)


def _matched(
    saved: Naming, shapes: Mapping[Any, tuple[int, ...]], weights: Sequence[Weight] | None
) -> Naming:
    """Saved names, unless the weights contradict them."""
    known = {weight.name: weight.shape for weight in weights or ()}
    for id, name in saved.names.items():
        if name in known and shapes.get(id, known[name]) != known[name]:
            reason = f"the saved name {name} belongs to a shape {known[name]}, and its state to {shapes[id]}"
            return Naming({}, reason)
    return saved


def _named(slot: Mapping[Any, LazyArray], naming: Naming) -> Any:
    if not naming.names:
        return dict(slot)
    return nest((split_name(naming.names.get(id, str(id))), array) for id, array in slot.items())


def _hyperparams(group: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): number(value) for key, value in group.items() if key not in ("params", "param_names")}


def _count(value: Any) -> int | None:
    array = array_of(value)
    value = number(value if array is None else array)
    return int(value) if isinstance(value, (int, float)) and np.isfinite(value) else None


def torch_native(state: OptimizerState, *, with_names: bool = False) -> dict[str, Any]:
    """Return the state dict that `torch.optim.Optimizer.load_state_dict` takes.

    Arguments:
        state: a state of torch's conventions, its parameters named, of one kind.
        with_names: add `param_names` to the groups, as optimizers built with `named_parameters()` have them.
    """
    kind = state.kind[0]
    spelled = {**_COMMON_NAMES, **_TORCH_NAMES.get(kind, {})}
    if kind == "adadelta":
        spelled["e_g"] = "square_avg"
    slots = state.flat_slots()
    entries: dict[int, dict[str, Any]] = {}
    groups = []
    id = 0
    empty = state.step == 0 and kind not in STEPLESS | EAGER
    for group in state.groups:
        members = []
        for name in group["params"]:
            entry = {
                spelled.get(slot, slot): arrays[name] for slot, arrays in slots.items() if name in arrays
            }
            if entry and not empty:
                if kind not in STEPLESS:
                    step = np.float32(state.steps.get(name, state.step or 0))
                    entry = {"step": LazyArray.from_numpy(np.asarray(step)), **entry}
                entries[id] = entry
            members.append(id)
            id += 1
        settings = {key: value for key, value in group.items() if key not in ("params", "label")}
        names = {"param_names": [name.replace("/", ".") for name in group["params"]]} if with_names else {}
        groups.append({**settings, "params": members, **names})
    return {"state": entries, "param_groups": groups}


def in_groups(
    state: OptimizerState,
    groups: Sequence[Sequence[str]],
    settings: Sequence[Mapping[str, Any]] | None = None,
) -> OptimizerState:
    """Return a state of torch's conventions with the parameters grouped and ordered as a live optimizer has them.

    Arguments:
        state: the state.
        groups: the names of the live optimizer's parameters, by group.
        settings: its hyperparameters by group, where they and not those of the state hold.

    Raises:
        UnsupportedError: a live group has parameters of groups with different hyperparameters, or lacks one that has
            a state.
    """
    group_of = {name: group for group in state.groups for name in group["params"]}
    made = []
    for i, names in enumerate(groups):
        found: list[dict[str, Any]] = []
        for name in names:
            group = group_of.get(name)
            own = {key: value for key, value in (group or {}).items() if key not in ("params", "label")}
            if group is not None and own not in found:
                found.append(own)
        if settings is not None:
            found = [dict(settings[i])]
        if len(found) > 1:
            raise UnsupportedError(
                f"group {i} of the optimizer has parameters that the state keeps under different hyperparameters",
                remedy="suggest_optimizer(state) gives an optimizer with the groups of the state.",
            )
        made.append({**(found[0] if found else state.hyperparams), "params": tuple(names)})
    lost = sorted(set(group_of) - {name for names in groups for name in names})
    if lost:
        raise UnsupportedError(
            f"the optimizer does not update {', '.join(lost[:4])}, of which there is a state",
            remedy="suggest_optimizer(state) gives an optimizer with the groups of the state.",
        )
    return dataclasses.replace(state, groups=tuple(made))
