"""One round of matching: families of equal size are assigned to each other, and what is beyond doubt is settled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np

from ckpt_core.transfer.matching.assignment import assign, margins
from ckpt_core.transfer.matching.families import Family, Ordinal
from ckpt_core.transfer.matching.names import Likeness
from ckpt_core.transfer.matching.pairing import Pairing
from ckpt_core.transfer.matching.state import Match, Search
from ckpt_core.transfer.matching.structure import closeness, linked
from ckpt_core.transfer.matching.units import Unit
from ckpt_core.transfer.plan import Evidence

__all__ = ["Component", "components", "is_as_usual", "settle"]

MARGIN: Final = 0.6
"""By how much the next best assignment has to be worse; a word in common is 1."""
_CROWD: Final = 10_000
"""Of more pairs than these in one component, only those with the same name are looked at."""
TELLING: Final = 0.9
"""How much evidence of its own a line has to have."""


@dataclass
class Component:
    """Families of one size on both sides, and which of them fit each other."""

    sources: list[Family]
    targets: list[Family]
    fits: dict[tuple[int, int], Pairing]
    likes: dict[tuple[int, int], Likeness]

    def scores(self, search: Search) -> tuple[Any, Any]:
        """Return the score of each pair, -inf where it does not fit; and the part of it that neighbours give."""
        near = closeness(self.sources, self.targets, search.ends)
        scores = np.full(near.shape, -np.inf)
        for pair, like in self.likes.items():
            scores[pair] = like.score + near[pair]
        return scores, near


def components(search: Search) -> list[Component]:
    """Return the families that are left, by the number of their elements, where both sides have some."""
    found = _fitting(search)
    if _is_as_usual(found, search.matches):
        for component in found:
            _drop_unusual(component)
    return found


def is_as_usual(search: Search) -> bool:
    """Say whether all matrices of layers, settled or left, can go the way that their frameworks' own layers need."""
    return _is_as_usual(_fitting(search), search.matches)


def _fitting(search: Search) -> list[Component]:
    sources, targets = _by_size(search.sources), _by_size(search.targets)
    found = []
    for size in sources.keys() & targets.keys():
        component = Component(sources[size], targets[size], {}, {})
        for i, j in _possible(component):
            known = search.between(component.sources[i], component.targets[j])
            if known.fits is not None and known.like is not None:
                component.fits[i, j], component.likes[i, j] = known.fits, known.like
        if component.fits:
            found.append(component)
    return found


def _possible(component: Component) -> Iterator[tuple[int, int]]:
    """The pairs to look at: all, or in a crowd those alone whose names say exactly the same."""
    if len(component.sources) * len(component.targets) <= _CROWD:
        yield from product(range(len(component.sources)), range(len(component.targets)))
        return
    rows, columns = (_by_name(side) for side in (component.sources, component.targets))
    for name in rows.keys() & columns.keys():
        yield from product(rows[name], columns[name])


def _by_name(families: list[Family]) -> dict[object, list[int]]:
    found: dict[object, list[int]] = {}
    for place, family in enumerate(families):
        said = frozenset(token.concept for _, token in family.tokens)
        found.setdefault((said, family.ordinal, family.blocks), []).append(place)
    return found


def _is_as_usual(found: list[Component], settled: list[Match]) -> bool:
    """Say whether every matrix of a layer can go the way its framework's own layers need, or went so.

    Where names speak for another way than the usual ones that the shapes leave, not all are as usual.
    """
    if any(not match.pairing.usual and _is_layers_matrix(match.source.first) for match in settled):
        return False
    for component in found:
        usual = {i for (i, _), pair in component.fits.items() if pair.usual}
        for i, _ in component.fits:
            if i not in usual and _is_layers_matrix(component.sources[i].first):
                return False
    return not any(map(_is_named_otherwise, found))


def _is_named_otherwise(component: Component) -> bool:
    """Say whether the name of a source says that it goes where only an unusual way leads, and not elsewhere."""
    names: dict[tuple[int, bool], float] = {}
    numbers: dict[tuple[int, bool], set[bool]] = {}
    for (i, j), pair in component.fits.items():
        like, kind = component.likes[i, j], (i, bool(pair.usual))
        ends = component.sources[i].ordinal, component.targets[j].ordinal
        numbers.setdefault(kind, set()).add(_are_same_place(*ends))
        if pair.usual or not (like.conflicts or like.misnumbered):
            names[kind] = max(like.score, names.get(kind, -np.inf))
    sources = {i for i, is_usual in numbers if not is_usual and (i, True) in numbers}
    return any(
        names.get((i, False), -np.inf) - names[i, True] >= MARGIN
        or (True in numbers[i, False] and True not in numbers[i, True])
        for i in sources
    )


def _are_same_place(one: Ordinal | None, other: Ordinal | None) -> bool:
    return one is not None and other is not None and (one.rank, one.count) == (other.rank, other.count)


def _is_layers_matrix(unit: Unit) -> bool:
    return not unit.bare and len(unit.main.spec.shape) == 2


def _drop_unusual(component: Component) -> None:
    """Leave out the pairs that would need an unusual way, where a source has others."""
    usual = {i for (i, _), pair in component.fits.items() if pair.usual}
    for i, j in [(i, j) for (i, j), pair in component.fits.items() if not pair.usual and i in usual]:
        del component.fits[i, j], component.likes[i, j]


def _by_size(families: Iterable[Family]) -> dict[int, list[Family]]:
    found: dict[int, list[Family]] = {}
    for family in families:
        found.setdefault(family.size, []).append(family)
    return found


def settle(search: Search) -> bool:
    """Settle what is beyond doubt, in one pass over all components; say whether there was anything."""
    new = [match for component in components(search) for match in _beyond_doubt(component, search)]
    search.settle(new)
    return bool(new)


def _beyond_doubt(component: Component, search: Search) -> list[Match]:
    scores, near = component.scores(search)
    chosen = assign(scores)
    slack = margins(scores, chosen)
    found = []
    for row, column in enumerate(chosen):
        if column is None or slack[row] < MARGIN:
            continue
        evidence = _evidence(component, (row, column), search, float(near[row, column]))
        if evidence is not None:
            pair = component.fits[row, column]
            found.append(Match(component.sources[row], component.targets[column], pair, evidence))
    return found


def _evidence(
    component: Component, place: tuple[int, int], search: Search, near: float
) -> tuple[Evidence, ...] | None:
    """Why a pair is beyond doubt; None where it is not."""
    like = component.likes[place]
    source, target = component.sources[place[0]], component.targets[place[1]]
    alone = not any((i == place[0]) != (j == place[1]) for i, j in component.fits)
    alone = alone and _is_told_by_shape(component.fits[place], source.first, search.styles)
    if like.conflicts or (like.misnumbered and not alone):
        return None
    found = []
    if like.common:
        found.append(Evidence("name", ", ".join(like.common[:6])))
    if alone:
        found.append(Evidence("shape", f"the only one with {_shape(source)}"))
    if near:
        found.append(Evidence("structure", "its neighbours go to the neighbours there"))
    strong = like.telling + (near if near >= TELLING else 0.0) >= TELLING
    sibling = linked(source, target, search.ends)
    if like.is_strange and not (search.same_arrays or sibling):
        return None
    # Being the only one proves something where every array has a place; else it may be a part that the other lacks.
    if strong or (alone and (search.same_total or like.own == (None, None))):
        return tuple(found)
    if sibling and not (like.is_strange and not search.same_arrays and _is_vector(source)):
        return (*found, Evidence("siblings", "all others are settled"))
    return None


def _is_told_by_shape(pair: Pairing, source: Unit, styles: tuple[str, str]) -> bool:
    """Say whether the shape of a matrix tells its place: not where it is turned round within one framework.

    Its bias tells that it has its inputs first; without one, another matrix may have its sizes the other way round.
    """
    return styles[0] != styles[1] or bool(pair.usual) or "bias" in source.parts


def _is_vector(family: Family) -> bool:
    """Say whether it is one vector alone, of which blocks have many that mean different things."""
    return len(family.first.parts) == 1 and len(family.first.main.spec.shape) < 2


def _shape(family: Family) -> str:
    return "x".join(map(str, family.first.main.spec.shape)) or "one element"
