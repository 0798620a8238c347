"""Whether a saved optimizer's state fits a live optimizer, and the state in the live one's own order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ckpt_core.arrays import ArraySpec, LazyArray
from ckpt_core.dtypes import is_float
from ckpt_core.framework import OptimizerTemplate, Slot
from ckpt_core.layouts.values import array_of, has_array
from ckpt_core.optimizers import OptimizerState
from ckpt_core.schema import Checkpoint
from ckpt_core.slots import leaf_paths
from ckpt_core.tree import Record, get, plain
from ckpt_core.validation.names import common_prefix, without_prefix
from ckpt_core.validation.report import Problem

__all__ = ["OptimizerMatch", "match_optimizer"]

_OTHERWISE_SHAPED: Final = frozenset({"row_var", "col_var", "variance", "eta", "mu", "mu_product", "step"})
"""torch slots that are not shaped like their parameter (Adafactor's factors, ASGD's and NAdam's scalars)."""


@dataclass(frozen=True)
class OptimizerMatch:
    """What keeps a saved optimizer's state from fitting, and the state to load where nothing does.

    Arguments:
        problems: the differences.
        state: as `Filling.state` wants it.
    """

    problems: tuple[Problem, ...]
    state: Any = None


def match_optimizer(
    ckpt: Checkpoint,
    template: OptimizerTemplate,
    order: Sequence[str] = (),
    left_out: Collection[str] = (),
    name: str | None = None,
) -> OptimizerMatch:
    """Compare the state of an optimizer with what a live one expects.

    torch numbers parameters. They are matched by name where the file has names, or where the live optimizer has
    the model's own order, so that the saved one had the checkpoint's; else by position, and only where every group
    has as many as the live one. Every shape that is known must agree.

    Arguments:
        ckpt: the checkpoint.
        template: what the live optimizer expects.
        order: the names of the model's parameters in order.
        left_out: names of weights that are not restored, whose state stays fresh.
        name: which of several saved optimizers is meant.
    """
    states = ckpt.opt_states
    state = next(iter(states.values()), None) if template.is_beside else _chosen(ckpt, name)
    expected = "torch" if template.groups else "optax"
    if state is not None and state.framework != expected:
        rule = " or ".join(state.kind[:3]) or "an unknown rule"
        return OptimizerMatch(
            (_problem("state", f"a state of {state.framework}'s ({rule})", f"one of {expected}'s"),)
        )
    if template.is_beside:
        return _by_leaf(_beside(ckpt), template)
    if state is None:
        what = f"{template.kind or 'an optimizer'} in use"
        return OptimizerMatch((_problem("state", None, what),))
    if template.slots or not template.groups:
        found = {key: get(state.native, path) for key, path in leaf_paths(state.native).items()}
        return _by_leaf(
            _with_own_count(found, template, ckpt.step if state.step is None else state.step), template
        )
    return _by_group(state, template, order, left_out)


def _chosen(ckpt: Checkpoint, name: str | None) -> OptimizerState | None:
    return ckpt.opt_state if name is None else ckpt.opt_states.get(name)


def _problem(name: str, found: ArraySpec | str | None, expected: ArraySpec | str | None) -> Problem:
    return Problem("optimizer", f"optimizer/{name}", found, expected, "optimizer")


# optax: leaf by leaf.


def _beside(ckpt: Checkpoint) -> dict[str, Any]:
    """What a train state in the checkpoint has besides its weights, by name from its top."""
    path = next((path for path in ckpt.roles.params if isinstance(path, tuple) and path), None)
    if path is None:
        return {}
    top = get(ckpt.tree, path[:-1])
    return {name: get(top, place) for name, place in leaf_paths(top).items() if place[:1] != path[-1:]}


def _with_own_count(
    found: Mapping[str, Any], template: OptimizerTemplate, step: int | None
) -> Mapping[str, Any]:
    """An optimizer of NNX counts its steps beside the state of optax; a file may hold that state by itself."""
    is_nnx = {slot.path[0] for slot in template.slots} <= {"opt_state", "step"} and bool(template.slots)
    if not is_nnx or any(name.partition("/")[0] in ("opt_state", "step") for name in found):
        return found
    count = {} if step is None else {"step": step}
    return {**{f"opt_state/{name}": value for name, value in found.items()}, **count}


def _by_leaf(found: Mapping[str, Any], template: OptimizerTemplate) -> OptimizerMatch:
    expected = {slot.name: slot.spec for slot in template.slots}
    if (expected and not expected.keys() & found.keys() and template.is_beside) or (expected and not found):
        return OptimizerMatch((_problem("state", None, f"{len(expected):,} arrays"),))
    if found and not expected:
        return OptimizerMatch((_problem("state", f"{len(found):,} arrays", None),))
    pair = None if template.is_beside else common_prefix(found, expected)
    if pair is not None:
        ours, theirs = (
            without_prefix(side, text) for side, text in zip((found, expected), pair, strict=True)
        )
        back = {short: name for name, short in theirs.items()}
        found = {back.get(ours.get(name, name), name): value for name, value in found.items()}
    tops = {name.partition("/")[0] for name in expected}
    problems = []
    state = {}
    for name, spec in expected.items():
        value = found.get(name)
        if value is None:
            problems.append(_problem(name, None, spec))
        elif _is_alike(value, spec):
            state[name] = value
        else:
            problems.append(_problem(name, _spec_of(value), spec))
    for name, value in found.items():
        if name not in expected and name.partition("/")[0] in tops:
            problems.append(_problem(name, _spec_of(value), None))
    return OptimizerMatch(tuple(problems), state)


def _spec_of(value: Any) -> ArraySpec | str:
    return value.spec if isinstance(value, LazyArray) else f"the number {value!r}"


def _is_alike(value: Any, spec: ArraySpec) -> bool:
    """A counter may be a number of Python's in one place and an array of another width in the other."""
    if not isinstance(value, LazyArray):
        return spec.shape == ()
    if value.shape == spec.shape == ():
        return is_float(value.dtype) == is_float(spec.dtype)
    return value.spec == spec


# torch: group by group.


def _by_group(
    state: OptimizerState, template: OptimizerTemplate, order: Sequence[str], left_out: Collection[str]
) -> OptimizerMatch:
    problems: list[Problem] = []
    if template.kind and state.kind and template.kind not in state.kind:
        problems.append(_problem("kind", " or ".join(state.kind), template.kind))
    saved, groups = state.groups, template.groups
    if len(saved) != len(groups):
        problems.append(_problem("groups", f"{len(saved)} groups", f"{len(groups)} groups"))
        return OptimizerMatch(tuple(problems))
    native = state.native["param_groups"]
    ids = [list(group.get("params") or ()) for group in native]
    rank = {name: place for place, name in enumerate(order)}
    pairs: list[tuple[Any, Slot]] = []
    for number, (own, members) in enumerate(zip(ids, groups, strict=True)):
        ranks = [rank.get(slot.name, -1) for slot in members]
        is_named = "param_names" in native[number] or ranks == sorted(ranks)
        names = saved[number]["params"] if is_named else [None] * len(own)
        paired, problem = _paired(own, names, members, left_out, number)
        pairs += paired
        problems += problem
    entries = state.native["state"]
    for id, slot in pairs:
        problems += _shape_problems(entries.get(id), slot, bool(state.kind))
    if problems:
        return OptimizerMatch(tuple(problems))
    return OptimizerMatch((), _in_live_order(state, groups, {slot.name: id for id, slot in pairs}))


def _paired(
    ids: Sequence[Any], names: Sequence[Any], members: Sequence[Slot], left_out: Collection[str], number: int
) -> tuple[list[tuple[Any, Slot]], list[Problem]]:
    """The saved id of each live parameter of a group, and what has no partner."""
    by_name = {str(name): id for name, id in zip(names, ids, strict=True) if isinstance(name, str)}
    wanted = [slot for slot in members if slot.name not in left_out]
    if len(by_name) == len(ids) and {slot.name for slot in wanted} <= by_name.keys():
        more = by_name.keys() - {slot.name for slot in members} - set(left_out)
        problems = [_problem(f"groups/{number}/{name}", "a parameter", None) for name in sorted(more)]
        return [(by_name[slot.name], slot) for slot in wanted], problems
    if len(ids) != len(members):
        sides = f"{len(ids):,} parameters", f"{len(members):,} parameters"
        return [], [_problem(f"groups/{number}", *sides)]
    return [(id, slot) for id, slot in zip(ids, members, strict=True) if slot.name not in left_out], []


def _shape_problems(entry: Any, slot: Slot, is_known: bool) -> list[Problem]:
    problems = []
    for key, value in entry.items() if isinstance(entry, Mapping) else ():
        array = array_of(value)
        if array is None and isinstance(value, Record) and has_array(value):
            problems.append(_problem(f"{key}/{slot.name}", f"an object of {value.type_name}", "a tensor"))
        elif array is None or not is_known or key in _OTHERWISE_SHAPED:
            continue
        elif array.ndim and array.shape != slot.spec.shape:
            expected = ArraySpec(slot.spec.shape, array.dtype)
            problems.append(_problem(f"{key}/{slot.name}", array.spec, expected))
    return problems


def _unwrapped(entry: Any) -> Any:
    """The entry of a parameter with arrays for what only wraps them, such as a distributed tensor that is whole."""
    if not isinstance(entry, Mapping):
        return entry
    arrays = {key: array_of(value) for key, value in entry.items()}
    return {key: value if arrays[key] is None else arrays[key] for key, value in entry.items()}


def _in_live_order(
    state: OptimizerState, groups: Sequence[Sequence[Slot]], ids: Mapping[str, Any]
) -> dict[str, Any]:
    """A state dict with the live optimizer's numbers: what torch's `load_state_dict` takes."""
    entries: dict[int, Any] = {}
    made = []
    position = 0
    for saved, members in zip(state.native["param_groups"], groups, strict=True):
        numbers = list(range(position, position + len(members)))
        position += len(members)
        for number, slot in zip(numbers, members, strict=True):
            entry = state.native["state"].get(ids.get(slot.name)) if slot.name in ids else None
            if entry is not None:
                entries[number] = _unwrapped(entry)
        names = {"param_names": [".".join(slot.path) for slot in members]} if "param_names" in saved else {}
        made.append({**saved, **names, "params": numbers})
    return {"state": plain(entries), "param_groups": plain(made)}
