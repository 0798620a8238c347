"""torch optimizers' state dicts as neutral states, and back.

The layout is `torch.optim.Optimizer.state_dict`'s: `{"state": {id: slots}, "param_groups": [...]}`, ids counted over
the groups. https://docs.pytorch.org/docs/stable/generated/torch.optim.Optimizer.state_dict.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UnsupportedError, UsageError
from ckpt_core.families import Family
from ckpt_core.keypath import join_name, split_name
from ckpt_core.layouts.values import array_of, number, numbers
from ckpt_core.optimizers.kinds import torch_kinds, torch_slots
from ckpt_core.optimizers.naming import Naming, Weight, by_order, by_saved_names
from ckpt_core.optimizers.state import OptimizerState
from ckpt_core.optimizers.table import family_of, torch_rule
from ckpt_core.tree import Record, render_key
from ckpt_core.view import nest

__all__ = ["read_torch", "torch_native"]


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
    saved_groups = _groups(native["param_groups"])
    hyperparams = _hyperparams(saved_groups[0]) if saved_groups else {}
    kind = torch_kinds(_slot_names(entries), hyperparams)
    family = family_of(kind[0], "torch", hyperparams) if kind else None
    rule = None if family is None else family.torch_rule(kind[0], hyperparams)
    found = _Entries(entries, torch_slots(kind), rule is not None and rule.is_joint)
    ids = [group["params"] for group in saved_groups]
    naming = _given(names, ids) or _naming(saved_groups, ids, found, family, weights)
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


def _slot_names(entries: Mapping[Any, Any]) -> set[str]:
    """torch's names of everything that is kept for some parameter, the step apart."""
    kept = [entry for entry in entries.values() if isinstance(entry, Mapping)]
    return {str(key) for entry in kept for key, value in entry.items() if value is not None} - {"step"}


class _Entries:
    """What the parameters' entries hold: slots by neutral name, steps, and what is neither."""

    def __init__(self, entries: Mapping[Any, Any], names: Mapping[str, str], is_joint: bool) -> None:
        self.slots: dict[str, dict[Any, LazyArray]] = {}
        self.steps: dict[Any, int] = {}
        self.other: dict[str, Any] = {}
        for id, entry in entries.items():
            if not isinstance(entry, Mapping):
                self.other[f"state/{render_key(id)}"] = entry
                continue
            for key, value in entry.items():
                array = array_of(value)
                if key == "step" and _count(value) is not None:
                    self.steps[id] = _count(value) or 0
                elif array is None or is_joint:
                    if value is not None:
                        self.other[f"state/{render_key(id)}/{render_key(key)}"] = value
                else:
                    self.slots.setdefault(names.get(str(key), str(key)), {})[id] = array

    @property
    def ids(self) -> set[Any]:
        """The parameters that have an entry."""
        return {*self.steps, *(id for slot in self.slots.values() for id in slot)}

    def shapes(self, family: Family | None) -> dict[Any, set[tuple[int, ...]]]:
        """The shapes that the slots say their parameters have; more than one is a contradiction."""
        scalars, factored = (
            (family.scalars, family.factored) if family is not None else (frozenset(), frozenset())
        )
        shapes: dict[Any, set[tuple[int, ...]]] = {}
        for name, slot in self.slots.items():
            if name not in scalars and name not in factored:
                for id, array in slot.items():
                    shapes.setdefault(id, set()).add(array.shape)
        means = [self.slots.get(name, {}) for name in sorted(factored)]
        for id in set.intersection(*map(set, means)) if means else ():
            sizes = [slot[id].shape for slot in means]
            # each averages over another axis, and keeps it with size 1
            if len({len(size) for size in sizes}) == 1:
                shapes.setdefault(id, set()).add(tuple(map(max, *sizes)))
        return shapes


def _given(names: Sequence[str] | Mapping[Any, str] | None, ids: list[list[Any]]) -> Naming | None:
    if names is None:
        return None
    flat = [id for group in ids for id in group]
    if isinstance(names, Mapping):
        missing = [id for id in flat if id not in names]
        if missing:
            raise UsageError(f"no name is given for the parameters {missing[:8]} of the optimizer")
        return Naming({id: _neutral(name) for id, name in names.items()})
    if len(names) != len(flat):
        raise UsageError(f"{len(names):,} names are given for {len(flat):,} parameters of the optimizer")
    return Naming(dict(zip(flat, map(_neutral, names), strict=True)))


def _neutral(name: str) -> str:
    """A name as the neutral view has it; torch's own are dotted."""
    return name if "/" in name else join_name(tuple(name.split(".")))


def _groups(saved: Any) -> list[dict[str, Any]]:
    """The groups, each with a list of its parameters: their numbers or names, in a live optimizer themselves."""
    found = []
    for group in saved if isinstance(saved, (list, tuple)) else ():
        if isinstance(group, Mapping):
            params = group.get("params")
            members = params if isinstance(params, (list, tuple)) else ()
            ids = [id for id in members if isinstance(id, (int, str, LazyArray, Record))]
            found.append({**group, "params": ids})
    return found


def _naming(
    groups: Sequence[Mapping[str, Any]],
    ids: list[list[Any]],
    found: _Entries,
    family: Family | None,
    weights: Sequence[Weight] | None,
) -> Naming:
    strangers = found.ids - {id for members in ids for id in members}
    if strangers:
        return Naming({}, f"there is a state of {sorted(map(str, strangers))[:4]}, which no group has")
    shapes = {}
    for id, said in found.shapes(family).items():
        if len(said) > 1:
            return Naming(
                {}, f"what is kept for parameter {id} has the shapes {' and '.join(map(str, sorted(said)))}"
            )
        shapes[id] = min(said)
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
    names = _without_wrapper(saved.names, known)
    for id, name in names.items():
        if known and name not in known:
            return Naming(
                {}, f"the weights have no {name}, which is a name that the optimizer was saved with"
            )
        if name in known and shapes.get(id, known[name]) != known[name]:
            reason = f"the saved name {name} belongs to a shape {known[name]}, and its state to {shapes[id]}"
            return Naming({}, reason)
    return Naming(names)


def _without_wrapper(names: Mapping[Any, str], known: Mapping[str, Any]) -> Mapping[Any, str]:
    """The names without the segment that a wrapper put before all of them (`module`), where the weights go without."""
    short = {id: name.partition("/")[2] for id, name in names.items()}
    first = {name.partition("/")[0] for name in names.values()}
    return short if len(first) == 1 and known.keys() >= set(short.values()) > set() else names


def _named(slot: Mapping[Any, LazyArray], naming: Naming) -> Any:
    if not naming.names:
        return dict(slot)
    return nest((split_name(naming.names.get(id, str(id))), array) for id, array in slot.items())


def _hyperparams(group: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): numbers(value) for key, value in group.items() if key not in ("params", "param_names")}


def _count(value: Any) -> int | None:
    array = array_of(value)
    value = number(value if array is None else array)
    return int(value) if isinstance(value, (int, float)) and np.isfinite(value) else None


def torch_native(state: OptimizerState) -> dict[str, Any]:
    """Return the state dict that `torch.optim.Optimizer.load_state_dict` takes.

    Arguments:
        state: a state of torch's conventions, its parameters named, of one kind.
    """
    kind = state.kind[0]
    rule = torch_rule(kind, state.hyperparams)
    if rule is None:
        raise UnsupportedError(f"no torch optimizer {kind} is known")
    spelled = {neutral: name for name, neutral in rule.slots.items()}
    step_dtype = state.home.step_dtype if state.home is not None else "float32"
    slots = state.flat_slots()
    entries: dict[int, dict[str, Any]] = {}
    groups = []
    id = 0
    is_empty = state.step == 0 and rule.has_step and not rule.is_eager
    for group in state.groups:
        members = []
        for name in group["params"]:
            entry = {
                spelled.get(slot, slot): arrays[name] for slot, arrays in slots.items() if name in arrays
            }
            if entry and not is_empty:
                if rule.has_step:
                    step = np.asarray(state.steps.get(name, state.step or 0), step_dtype)
                    entry = {"step": LazyArray.from_numpy(step), **entry}
                entries[id] = entry
            members.append(id)
            id += 1
        groups.append({**group, "params": members})
    return {"state": entries, "param_groups": groups}
