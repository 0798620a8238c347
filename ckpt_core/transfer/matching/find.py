"""plan_transfer: the plan from a source to a target, found from names, shapes, types and structure."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from ckpt_core.framework import Slot, Template
from ckpt_core.keypath import split_name
from ckpt_core.template import template_of
from ckpt_core.transfer.binding import Step, bind
from ckpt_core.transfer.matching.compounds import ROLES, layers_in, packs_in
from ckpt_core.transfer.matching.contradictions import drop_contradictions
from ckpt_core.transfer.matching.families import Family, families_of, numbers_in, split
from ckpt_core.transfer.matching.lines import plan_of
from ckpt_core.transfer.matching.names import usage_of
from ckpt_core.transfer.matching.numbering import drop_misnumbered
from ckpt_core.transfer.matching.rounds import settle
from ckpt_core.transfer.matching.state import Match, Search
from ckpt_core.transfer.matching.units import Unit, style_of, unit_path, units_of
from ckpt_core.transfer.plan import TransferPlan

__all__ = ["anchors_of", "find_plan", "plan_transfer"]

_FINEST = 3

Grouping = Callable[[list[Family]], list[Family]]
"""What makes families anew of families."""


def plan_transfer(source: Any, like: Any, rules: TransferPlan | None = None) -> TransferPlan:
    """Find the plan that takes the weights of one model into another.

    Nothing is guessed: a line stands in the plan's rules only where the evidence speaks against every other answer;
    all others are its unsettled lines, with the candidates and what would settle them.

    Arguments:
        source: a live model, a checkpoint, a template, or a path; whatever `template_of` takes.
        like: the same for the model to fill. Live models tell the types of layers, which settles most.
        rules: what is known; it is taken as it is, and what lies near it is found by it.

    Returns:
        The given rules and those found, in the target's order, and what is unsettled.

    Raises:
        CheckpointError: a file cannot be opened, or a value is nothing that holds weights.

    Example:
        >>> from ckpt_core import ArraySpec
        >>> wide, tall = ArraySpec((4, 3), "float32"), ArraySpec((3, 4), "float32")
        >>> source = {"fc1.weight": wide, "fc2.weight": tall}
        >>> like = {"Dense_0": {"kernel": tall}, "Dense_1": {"kernel": wide}}
        >>> for rule in plan_transfer(source, like).rules:
        ...     print(rule.source[0], "->", rule.target[0], *rule.ops)
        fc1.weight -> Dense_0/kernel transpose(1, 0)
        fc2.weight -> Dense_1/kernel transpose(1, 0)
    """
    templates = template_of(source), template_of(like)
    if rules is None:
        return find_plan(*templates)
    specs = {slot.name: slot.spec for slot in templates[0].slots}
    steps = bind(rules, specs, templates[1].by_name()).steps
    taken = {name for step in steps for name in step.sources}
    given = {name for step in steps for name in step.targets}
    left = _without(templates[0], taken), _without(templates[1], given)
    found = find_plan(*left, anchors=anchors_of(steps))
    return replace(
        found,
        rules=(*rules.rules, *found.rules),
        conventions={**found.conventions, **rules.conventions},
        comment=rules.comment,
    )


def find_plan(source: Template, target: Template, anchors: Sequence[tuple[str, str]] = ()) -> TransferPlan:
    """Find the plan between two templates.

    Arguments:
        source, target: the templates.
        anchors: names of arrays that are known to go together, and need no rule; what lies near them is found by it.
    """
    ours, theirs = ({pair[side] for pair in anchors} for side in (0, 1))
    left = _without(source, ours), _without(target, theirs)
    search = searched(*left, anchors)
    if "torch" in search.styles:  # what is known makes and takes features, too
        whole, names = ((source, ours), (target, theirs))[search.styles.index("torch")]
        known = units_of(slot for slot in whole.slots if slot.name in names and slot.tied is None)
        search.torch_units = [*search.torch_units, *known]
    return plan_of(search, *left)


def anchors_of(steps: Iterable[Step]) -> list[tuple[str, str]]:
    """Return the names that bound rules bring together one to one."""
    return [(s.sources[0], s.targets[0]) for s in steps if len(s.sources) == len(s.targets) == 1]


def _without(template: Template, names: set[str]) -> Template:
    """The template without some slots; what was tied to one of them is free."""
    slots = [slot for slot in template.slots if slot.name not in names]
    return replace(template, slots=tuple(slots))


def searched(source: Template, target: Template, anchors: Sequence[tuple[str, str]] = ()) -> Search:
    """Settle what can be settled between two templates.

    Arguments:
        source, target: what is left to settle.
        anchors: the names of arrays that are known to go together.
    """
    styles = style_of(source), style_of(target)
    slots = [[slot for slot in template.slots if slot.tied is None] for template in (source, target)]
    ends = [(unit_path(split_name(one)), unit_path(split_name(other))) for one, other in anchors]
    cut = _cut_layers(slots, styles, ends)
    gone = {
        slot.path for match in cut for family in (match.source, match.target) for slot in slots_in(family)
    }
    units = [units_of(slot for slot in side if slot.path not in gone) for side in slots]
    families = [families_of(side) for side in units]
    search = Search(styles, families[0], families[1], (usage_of(families[0]), usage_of(families[1])), cut)
    search.anchors = ends
    if "torch" in styles:
        search.torch_units = units_of(slots[styles.index("torch")])
    sizes = [_sizes(side) for side in families]
    search.same_arrays = sizes[0] == sizes[1]
    search.same_total = sum(sizes[0].elements()) == sum(sizes[1].elements())
    _settle_all(search)
    if _packed(search):
        search.same_arrays = _sizes(search.sources) == _sizes(search.targets)
        _settle_all(search)
    _second_names(search, source)
    drop_misnumbered(search)
    drop_contradictions(search)
    return search


def _second_names(search: Search, source: Template) -> None:
    """Match what is left with other names of arrays that the source has tied: an output layer of its own."""
    again = units_of(slot for slot in source.slots if slot.tied is not None)
    if not again or not search.targets:
        return
    first = search.sources
    search.sources = families_of(again)
    search.same_arrays = search.same_total = False
    _settle_all(search)
    search.sources = first


def _settle_all(search: Search) -> None:
    """Settle blocks as wholes first, then with their numbers told apart from within, on one side before on both.

    One side may number what the other has names for: `block/1/conv/0` and `block1/expand`. At last, what one side has
    in numbered blocks and the other under numbered names of its own: `blocks/0/norm` and `norm_0`.
    """
    for fine in _finenesses(search):
        _settle_in(search, functools.partial(split, fine=fine[0]), functools.partial(split, fine=fine[1]))
    for listed in ((True, False), (False, True)):
        _settle_in(search, *(functools.partial(split, listed=numbered) for numbered in listed))
    search.sources, search.targets = split(search.sources), split(search.targets)


def _settle_in(search: Search, sources: Grouping, targets: Grouping) -> None:
    """Settle what can be in families of one kind; numbers count among what is left after each round."""
    more = True
    while more:
        search.sources, search.targets = sources(search.sources), targets(search.targets)
        more = settle(search)


def _finenesses(search: Search) -> list[tuple[int, int]]:
    """How many of the innermost numbers tell families apart, on each side; no more than there are."""
    most = [min(_FINEST, numbers_in(side)) for side in (search.sources, search.targets)]
    found = [
        (min(max(fine - 1, 0) if one else fine, most[0]), min(max(fine - 1, 0) if other else fine, most[1]))
        for fine in range(_FINEST + 1)
        for one, other in ((False, True), (True, False), (False, False))
    ]
    return list(dict.fromkeys(found))


def _cut_layers(
    slots: list[list[Slot]], styles: tuple[str, str], anchors: list[tuple[tuple[str, ...], tuple[str, ...]]]
) -> list[Match]:
    """Match the layers that the frameworks cut up differently."""
    if set(styles) != {"torch", "flax"}:
        return []
    families = [families_of(layers_in(side, style)) for side, style in zip(slots, styles, strict=True)]
    search = Search(styles, families[0], families[1], (usage_of(families[0]), usage_of(families[1])))
    search.anchors = anchors
    search.same_arrays = search.same_total = sum(len(f.units) for f in families[0]) == sum(
        len(f.units) for f in families[1]
    )
    _settle_all(search)
    return search.matches


def _packed(search: Search) -> bool:
    """Match packed queries, keys and values with separate ones; say whether there were any."""
    left = search.sources, search.targets
    sides = [[*filter(_is_packed, side), *families_of(packs_in(_units(side), _roles(side)))] for side in left]
    inner = Search(search.styles, sides[0], sides[1], search.usages, list(search.matches))
    inner.torch_units, inner.anchors = search.torch_units, search.anchors
    inner.same_arrays, inner.same_total = search.same_arrays, search.same_total
    _settle_all(inner)
    new = inner.matches[len(search.matches) :]
    gone = {
        slot.path for match in new for family in (match.source, match.target) for slot in slots_in(family)
    }
    search.matches += new
    search.sources, search.targets = (
        [family for family in side if not gone & {slot.path for slot in slots_in(family)}] for side in left
    )
    return bool(new)


def _is_packed(family: Family) -> bool:
    return any(token.concept == "packed" for _, token in family.tokens)


def _roles(families: list[Family]) -> dict[int, str]:
    """Which of query, key and value a unit is, by its last segment."""
    found: dict[int, str] = {}
    for family in families:
        last = len(family.pattern) - 1
        said = {token.concept for depth, token in family.tokens if depth == last}
        roles = [role for role in ROLES if role in said]
        if len(roles) == 1:
            found.update({id(unit): roles[0] for unit in family.units.values()})
    return found


def _sizes(families: list[Family]) -> Counter[int]:
    """How many units of each size there are."""
    return Counter(unit.size for unit in _units(families))


def _units(families: list[Family]) -> list[Unit]:
    return [unit for family in families for unit in family.units.values()]


def slots_in(family: Family) -> list[Slot]:
    """Return all arrays of a family."""
    return [slot for unit in family.units.values() for slot in unit.slots]
