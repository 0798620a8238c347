"""plan_transfer: the plan from a source to a target, found from names, shapes, types and structure."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ckpt_core.framework import Slot, Template
from ckpt_core.template import template_of
from ckpt_core.transfer.matching.compounds import ROLES, layers_in, packs_in
from ckpt_core.transfer.matching.lines import plan_of
from ckpt_core.transfer.matching.names import usage_of
from ckpt_core.transfer.matching.rounds import settle
from ckpt_core.transfer.matching.state import Match, Search
from ckpt_core.transfer.matching.units import Family, Unit, families_of, split, style_of, units_of
from ckpt_core.transfer.plan import TransferPlan

__all__ = ["plan_transfer"]

_FINEST = 3


def plan_transfer(source: Any, like: Any) -> TransferPlan:
    """Find the plan that takes the weights of one model into another."""
    templates = template_of(source), template_of(like)
    return plan_of(searched(*templates), *templates)


def searched(source: Template, target: Template) -> Search:
    """Settle what can be settled between two templates."""
    styles = style_of(source), style_of(target)
    slots = [[slot for slot in template.slots if slot.tied is None] for template in (source, target)]
    cut = _cut_layers(slots, styles)
    gone = {
        slot.path for match in cut for family in (match.source, match.target) for slot in slots_in(family)
    }
    units = [units_of(slot for slot in side if slot.path not in gone) for side in slots]
    families = [families_of(side) for side in units]
    search = Search(styles, families[0], families[1], (usage_of(families[0]), usage_of(families[1])), cut)
    if "torch" in styles:
        search.torch_units = units[styles.index("torch")]
    search.same_arrays = _sizes(units[0]) == _sizes(units[1])
    _settle_all(search)
    _packed(search)
    return search


def _settle_all(search: Search) -> None:
    """Settle blocks as wholes first, then with their numbers told apart from within."""
    for fine in range(_FINEST + 1):
        if fine:
            search.sources, search.targets = split(search.sources, fine), split(search.targets, fine)
        while settle(search):
            pass


def _cut_layers(slots: list[list[Slot]], styles: tuple[str, str]) -> list[Match]:
    """Match the layers that the frameworks cut up differently."""
    if set(styles) != {"torch", "flax"}:
        return []
    families = [families_of(layers_in(side, style)) for side, style in zip(slots, styles, strict=True)]
    search = Search(styles, families[0], families[1], (usage_of(families[0]), usage_of(families[1])))
    search.same_arrays = [len(f.units) for f in families[0]] == [len(f.units) for f in families[1]]
    _settle_all(search)
    return search.matches


def _packed(search: Search) -> None:
    """Match packed queries, keys and values with separate ones."""
    left = search.sources, search.targets
    sides = [[*filter(_is_packed, side), *families_of(packs_in(_units(side), _roles(side)))] for side in left]
    inner = Search(search.styles, sides[0], sides[1], search.usages, list(search.matches))
    inner.torch_units, inner.same_arrays = search.torch_units, search.same_arrays
    _settle_all(inner)
    new = inner.matches[len(search.matches) :]
    gone = {
        slot.path for match in new for family in (match.source, match.target) for slot in slots_in(family)
    }
    search.matches += new
    search.sources, search.targets = (
        [family for family in side if not gone & {slot.path for slot in slots_in(family)}] for side in left
    )


def _is_packed(family: Family) -> bool:
    return any(token.concept == "packed" for _, token in family.tokens)


def _roles(families: list[Family]) -> dict[int, str]:
    """Which of query, key and value a unit is, by its last segment."""
    found = {}
    for family in families:
        last = len(family.pattern) - 1
        said = {token.concept for depth, token in family.tokens if depth == last}
        roles = [role for role in ROLES if role in said]
        if len(roles) == 1:
            found.update({id(unit): roles[0] for unit in family.units.values()})
    return found


def _units(families: list[Family]) -> list[Unit]:
    return [unit for family in families for unit in family.units.values()]


def slots_in(family: Family) -> list[Slot]:
    """Return all arrays of a family."""
    return [slot for unit in family.units.values() for slot in unit.slots]


def _sizes(units: list[Unit]) -> Counter[int]:
    return Counter(unit.size for unit in units)
