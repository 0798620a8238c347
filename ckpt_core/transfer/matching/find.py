"""plan_transfer: the plan from a source to a target, found from names, shapes, types and structure."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ckpt_core.framework import Template
from ckpt_core.template import template_of
from ckpt_core.transfer.matching.lines import plan_of
from ckpt_core.transfer.matching.names import usage_of
from ckpt_core.transfer.matching.rounds import settle
from ckpt_core.transfer.matching.state import Search
from ckpt_core.transfer.matching.units import Unit, families_of, split, style_of, units_of
from ckpt_core.transfer.plan import TransferPlan

__all__ = ["plan_transfer"]

_FINEST = 3


def plan_transfer(source: Any, like: Any) -> TransferPlan:
    """Find the plan that takes the weights of one model into another."""
    templates = template_of(source), template_of(like)
    return plan_of(searched(*templates), *templates)


def searched(source: Template, target: Template) -> Search:
    """Settle what can be settled."""
    styles = style_of(source), style_of(target)
    units = [units_of(slot for slot in template.slots if slot.tied is None) for template in (source, target)]
    families = [families_of(side) for side in units]
    search = Search(styles, families[0], families[1], (usage_of(families[0]), usage_of(families[1])))
    search.same_arrays = _sizes(units[0]) == _sizes(units[1])
    for fine in range(_FINEST + 1):
        if fine:
            search.sources, search.targets = split(search.sources, fine), split(search.targets, fine)
        while settle(search):
            pass
    return search


def _sizes(units: list[Unit]) -> Counter[int]:
    return Counter(unit.size for unit in units)
