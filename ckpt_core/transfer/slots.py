"""Optimizer slots on the way of their parameters: each follows the ops of its parameter, whatever they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UnsupportedError
from ckpt_core.families import Family
from ckpt_core.framework import Template
from ckpt_core.keypath import split_name
from ckpt_core.optimizers import OptimizerState
from ckpt_core.optimizers.grouping import FROZEN
from ckpt_core.optimizers.table import family_of
from ckpt_core.transfer.axes import averages_through, stay_whole
from ckpt_core.transfer.binding import Step, bind
from ckpt_core.transfer.ops import Cast, Filling, Op, Resize, Spread, Sum
from ckpt_core.transfer.plan import TransferPlan
from ckpt_core.view import nest
from ckpt_core.writing import same_bytes

__all__ = ["moved_arrays", "moved_state"]


def moved_state(
    state: OptimizerState, plan: TransferPlan, sources: Mapping[str, LazyArray], template: Template
) -> OptimizerState:
    """Return the state with its slots and groups under the target's names, in the target's layouts.

    Arguments:
        state: a state whose parameters are named as `sources` are.
        plan: the plan that was applied to the weights.
        sources: the source's arrays by name.
        template: what the target expects.

    Raises:
        UnsupportedError: an op changes what the rule depends on, or the parts of a tensor have different states.
    """
    specs = {name: array.spec for name, array in sources.items()}
    steps = [step for step in bind(plan, specs, template.by_name()).steps if step.sources and step.targets]
    first = _first_names(sources)
    slots = state.flat_slots()
    held = {name for arrays in slots.values() for name in arrays}
    if held and not held & set(first.values()):
        shown = ", ".join(sorted(held)[:4])
        raise UnsupportedError(
            f"the optimizer's state is of {shown}, and the weights have no such names",
            remedy="A wrapper that joins parameters (optax.flatten) keeps what goes with none of them.",
        )
    family = family_of(state.kind[0], state.framework, state.hyperparams) if state.kind else None
    notes: list[str] = []
    moved: dict[str, list[tuple[tuple[str, ...], LazyArray]]] = {name: [] for name in slots}
    places: dict[str, list[str]] = {}
    done: set[str] = set()
    tied = {"/".join(slot.path): slot for slot in template.slots if slot.tied is not None}
    for step in steps:
        origin = [first[name] for name in step.sources]
        targets = [name for name in step.targets if name not in tied]
        for name in origin:
            places.setdefault(name, []).extend(n for n in targets if n not in places.get(name, []))
        if not targets or done.issuperset(step.targets):
            continue
        done.update(step.targets)
        missing = [name for name in origin if name not in held]
        if len(missing) == len(origin):
            continue
        if missing:
            raise UnsupportedError(
                f"{', '.join(step.targets)} is made of several arrays, and {', '.join(missing)} has no optimizer state",
                remedy="Parameters that become one must have been trained alike.",
            )
        shape = sources[origin[0]].shape
        notes += _check_rule(state.kind, family, step, shape)
        for slot, arrays in slots.items():
            if all(name in arrays for name in origin):
                made = _through(slot, family, step, tuple(arrays[name] for name in origin), shape)
                moved[slot] += [
                    (split_name(n), a) for n, a in zip(step.targets, made, strict=True) if n not in tied
                ]
    return dataclasses.replace(
        state,
        slots={name: nest(pairs) for name, pairs in moved.items()},
        groups=_moved_groups(state, template, places, notes),
        steps={new: count for name, count in state.steps.items() for new in places.get(name, [])},
        notes=tuple(dict.fromkeys([*state.notes, *notes])),
        native=None,
    )


def moved_arrays(
    plan: TransferPlan,
    sources: Mapping[str, LazyArray],
    template: Template,
    arrays: Mapping[str, LazyArray],
) -> dict[str, LazyArray]:
    """Return another copy of the weights (an average) under the target's names, in the target's layouts.

    Arguments:
        plan: the plan that was applied to the weights.
        sources: the source's arrays by name.
        template: what the target expects.
        arrays: the copy, by the source's names; what it lacks is left out.
    """
    specs = {name: array.spec for name, array in sources.items()}
    made: dict[str, LazyArray] = {}
    for step in bind(plan, specs, template.by_name()).steps:
        if not step.targets or not step.sources or not all(name in arrays for name in step.sources):
            continue
        through = tuple(arrays[name] for name in step.sources)
        for op in step.rule.ops:
            through = (
                dataclasses.replace(op, fill=0.0).apply(through)
                if isinstance(op, Resize)
                else op.apply(through)
            )
        made.update(zip(step.targets, through, strict=True))
    return made


def _first_names(sources: Mapping[str, LazyArray]) -> dict[str, str]:
    """For each name, the first name of the array that it shares: the one that the optimizer knows it by."""
    known: dict[Any, str] = {}
    return {
        name: name if array.identity is None or not array.nbytes else known.setdefault(array.identity, name)
        for name, array in sources.items()
    }


def _check_rule(
    kind: tuple[str, ...], family: Family | None, step: Step, shape: tuple[int, ...]
) -> list[str]:
    """Refuse what a rule cannot follow, and note what it follows at another speed."""
    ops = step.rule.ops
    if family is not None and family.is_per_tensor and not stay_whole(ops, shape):
        raise UnsupportedError(
            f"{kind[0]} looks at each tensor as a whole, and {', '.join(step.sources)} becomes {', '.join(step.targets)} by {' | '.join(map(str, ops))}",
            remedy="Transfer into a model that keeps these tensors whole, or leave the optimizer behind.",
        )
    if any(isinstance(op, Sum) for op in ops):
        return [
            f"{', '.join(step.targets)} is a sum of {len(step.sources)} parameters, which moved by the sum of their updates: give it {len(step.sources)} times the learning rate to go on alike"
        ]
    if any(isinstance(op, Spread) for op in ops):
        return [
            f"{', '.join(step.targets)} add up to one parameter: divide their learning rate by {len(step.targets)} to go on alike"
        ]
    return []


def _through(
    slot: str, family: Family | None, step: Step, arrays: tuple[LazyArray, ...], shape: tuple[int, ...]
) -> tuple[LazyArray, ...]:
    if family is not None and slot in family.scalars:
        return _unchanged(slot, step, arrays)
    if family is not None and slot in family.factored:
        if not stay_whole(step.rule.ops, shape):
            ops = " | ".join(map(str, step.rule.ops))
            raise UnsupportedError(
                f"{slot} of {', '.join(step.sources)} averages over an axis, which does not stay whole: {ops}"
            )
        return tuple(averages_through(step.rule.ops, shape, array) for array in arrays)
    for op in step.rule.ops:
        arrays = _one(slot, op, step, arrays)
    return arrays


def _one(slot: str, op: Op, step: Step, arrays: tuple[LazyArray, ...]) -> tuple[LazyArray, ...]:
    if isinstance(op, (Cast, Filling)):
        return arrays  # slots keep their own precision
    if isinstance(op, Sum):
        # Parameters that are only ever added have the same gradient, and so the same state.
        return tuple(_alike(slot, group, step) for group in _grouped(arrays, op.sizes))
    if isinstance(op, Spread):
        counts = op.sizes * (len(arrays) // len(op.sizes))
        return tuple(array for array, count in zip(arrays, counts, strict=True) for _ in range(count))
    if isinstance(op, Resize):
        return dataclasses.replace(op, fill=0.0).apply(arrays)
    return op.apply(arrays)


def _grouped(arrays: tuple[LazyArray, ...], sizes: tuple[int, ...]) -> list[tuple[LazyArray, ...]]:
    sizes = sizes or (len(arrays),)
    groups, start = [], 0
    for size in sizes * (len(arrays) // sum(sizes)):
        groups.append(arrays[start : start + size])
        start += size
    return groups


def _alike(slot: str, group: Sequence[LazyArray], step: Step) -> LazyArray:
    if not all(same_bytes(group[0], array) for group_ in [group] for array in group_[1:]):
        raise UnsupportedError(
            f"{', '.join(step.sources)} become one sum, and their {slot} differ",
            remedy="They were not trained alike (weight decay on both, or different groups): leave the optimizer behind.",
        )
    return group[0]


def _unchanged(slot: str, step: Step, arrays: tuple[LazyArray, ...]) -> tuple[LazyArray, ...]:
    """One number for each target: that of the sources, which must agree where several become one."""
    if not all(same_bytes(arrays[0], array) for array in arrays[1:]):
        raise UnsupportedError(f"{', '.join(step.sources)} become one, and their {slot} differ")
    return (arrays[0],) * len(step.targets)


def _moved_groups(
    state: OptimizerState,
    template: Template,
    places: Mapping[str, Sequence[str]],
    notes: list[str],
) -> tuple[Mapping[str, Any], ...]:
    """The groups under the target's names; what two groups would own is an error."""
    owner: dict[str, int] = {}
    groups = []
    for i, group in enumerate(state.groups):
        names: dict[str, None] = {}
        for name in group["params"]:
            for new in places.get(name, ()):
                if owner.setdefault(new, i) != i:
                    raise UnsupportedError(
                        f"{new} is made of parameters of different groups of the optimizer",
                        remedy="Their hyperparameters differ, so that no one rule continues both.",
                    )
                names[new] = None
        lost = [name for name in group["params"] if not places.get(name)]
        if lost:
            notes.append(
                f"{len(lost):,} parameters of the optimizer have no place in the target: {', '.join(lost[:4])}"
            )
        groups.append({**group, "params": tuple(names)})
    learned = {slot.name for slot in template.slots if slot.role != "buffer" and slot.tied is None}
    orphans = [new for news in places.values() for new in news if new in learned and new not in owner]
    if orphans and groups and state.framework == "optax":
        # What torch's optimizer was not given it does not update; an optax rule would.
        notes.append(
            f"{len(orphans):,} parameters are in no group of the optimizer, and are not updated on the other side: "
            + ", ".join(orphans[:4])
        )
        held = [group for group in groups if group.get("kind") == FROZEN]
        frozen = {**held[0], "params": (*held[0]["params"], *orphans)} if held else None
        groups = [group for group in groups if group.get("kind") != FROZEN]
        groups.append(frozen or {"kind": FROZEN, "label": FROZEN, "params": tuple(orphans)})
    return tuple(groups)
