"""Bookkeeping: what becomes of arrays that are no learned weights, on both sides of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ckpt_core.framework import Slot, Template
from ckpt_core.keypath import split_name
from ckpt_core.transfer.binding import bind
from ckpt_core.transfer.ops import Constant, Initial, Skip
from ckpt_core.transfer.patterns import literal
from ckpt_core.transfer.plan import PROVEN, Evidence, Rule, TransferPlan
from ckpt_core.transfer.unlearned import is_unlearned

__all__ = ["bookkeeping_rules"]

Path = tuple[str, ...]

_COUNTERS: Final[Mapping[str, float]] = {"num_batches_tracked": 0}
"""What the way back, or a target without values, is given for counters that only one framework keeps."""


def bookkeeping_rules(
    plan: TransferPlan, source: Template, target: Template, done: tuple[set[str], set[str]]
) -> list[Rule]:
    """Return rules for what is left over and no learned weight: counters, position numbers, masks.

    Integers and booleans are not learned, nor are the buffers of a live torch module besides running statistics.
    A counter goes along with the layer that it is of; all else is left where it is, never consumed.

    Arguments:
        plan: the rules and lines of all else.
        source, target: the templates.
        done: the names of either side that need no rule.
    """
    taken, given = done
    sources = {slot.path: slot for slot in source.slots if slot.name not in taken and is_unlearned(slot)}
    layers = _layers(plan, source, target)
    rules: list[Rule] = []
    copied: set[Path] = set()
    for slot in target.slots:
        if slot.name in given or slot.tied is not None or not is_unlearned(slot):
            continue
        counter = sources.get((*layers.get(slot.path[:-1], ()), slot.path[-1]))
        if counter is not None and slot.path[-1] in _COUNTERS and counter.spec.shape == slot.spec.shape:
            copied.add(counter.path)
            rules.append(Rule((_name(counter, source),), (_name(slot, target),), (), PROVEN, (_why(slot),)))
        else:
            value = _COUNTERS.get(slot.path[-1])
            op = Initial("no learned weight") if value is None else Constant(value)
            rules.append(Rule((), (_name(slot, target),), (op,), PROVEN, (_why(slot),)))
    for slot in (slot for path, slot in sources.items() if path not in copied):
        skip = Skip("no learned weight", _COUNTERS.get(slot.path[-1], "initial"))
        rules.append(Rule((_name(slot, source),), (), (skip,), PROVEN, (_why(slot),)))
    return rules


def _layers(plan: TransferPlan, source: Template, target: Template) -> dict[Path, Path]:
    """Where the layers of the target come from, whose arrays have one source each."""
    steps = bind(plan, {slot.name: slot.spec for slot in source.slots}, target.by_name()).steps
    pairs = [
        (split_name(step.targets[0]), split_name(step.sources[0]))
        for step in steps
        if len(step.sources) == len(step.targets) == 1
    ]
    return {there[:-1]: here[:-1] for there, here in pairs if len(there) > 1 < len(here)}


def _name(slot: Slot, side: Template) -> str:
    return literal(slot.path, dotted=side.framework == "torch")


def _why(slot: Slot) -> Evidence:
    return Evidence("type", f"{slot.spec.dtype} {slot.role}: no learned weight")
