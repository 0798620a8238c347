"""Which parameter of a torch optimizer is which.

torch numbers parameters in the order in which the groups list them. The names are in the file where the optimizer
was built with `named_parameters()`; else they follow from the order of the weights, and only where the counts and
every known shape agree in exactly one way. Frozen parameters, groups and tied weights all change the order, so that
anything less is a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from ckpt_core.arrays import LazyArray
from ckpt_core.keypath import join_name

__all__ = ["Naming", "Weight", "by_order", "by_saved_names", "parameters_of"]

_MOST: Final = 4096
"""Positions in several groups that are followed at once before the order counts as ambiguous."""


class Weight(NamedTuple):
    """A parameter of the model: its name in the neutral view, and its shape."""

    name: str
    shape: tuple[int, ...]


class Naming(NamedTuple):
    """The name of each parameter by its id; or, where they cannot be told, the reason."""

    names: Mapping[Any, str]
    reason: str = ""


def parameters_of(weights: Sequence[tuple[tuple[str, ...], LazyArray]]) -> list[Weight]:
    """Return the parameters in order, tied ones once under their first name, as torch counts them."""
    seen = set()
    found = []
    for segments, array in weights:
        identity = array.identity if array.nbytes else None
        if identity is None or identity not in seen:
            found.append(Weight(join_name(segments), array.shape))
        seen.add(identity)
    return found


def by_saved_names(groups: Sequence[Mapping[str, Any]]) -> Naming | None:
    """Return the names that the groups carry, or None where one of them carries none."""
    names: dict[Any, str] = {}
    for group in groups:
        ids, saved = group.get("params") or (), group.get("param_names")
        if saved is None and ids and all(isinstance(id, str) for id in ids):
            saved = ids  # distributed checkpoints key everything by name
        if not isinstance(saved, (list, tuple)) or len(saved) != len(ids):
            return None
        for id, name in zip(ids, saved, strict=True):
            names[id] = join_name(tuple(str(name).split(".")))
    return Naming(names) if names else None


def by_order(
    groups: Sequence[Sequence[Any]], shapes: Mapping[Any, tuple[int, ...]], weights: Sequence[Weight]
) -> Naming:
    """Name parameters by the order of the weights.

    Arguments:
        groups: the ids of each group, in order.
        shapes: the shapes of the parameters that have a state, by id.
        weights: the model's parameters in order.
    """
    ids = [id for group in groups for id in group]
    if len(ids) != len(weights):
        return Naming({}, f"the optimizer has {len(ids):,} parameters and the weights are {len(weights):,}")
    if len([group for group in groups if group]) == 1:
        for id, weight in zip(ids, weights, strict=True):
            if shapes.get(id, weight.shape) != weight.shape:
                reason = f"parameter {id} has the shape {shapes[id]}, and {weight.name}, which stands at its place, {weight.shape}"
                return Naming({}, reason)
        return Naming({id: weight.name for id, weight in zip(ids, weights, strict=True)})
    return _interleaved(groups, shapes, weights)


def _interleaved(
    groups: Sequence[Sequence[Any]], shapes: Mapping[Any, tuple[int, ...]], weights: Sequence[Weight]
) -> Naming:
    """Several groups: each lists its parameters in the model's order; which weight is whose must be forced."""
    trails: dict[tuple[int, ...], tuple[int, Any]] = {(0,) * len(groups): (1, None)}
    for weight in weights:
        following: dict[tuple[int, ...], tuple[int, Any]] = {}
        for places, (ways, trail) in trails.items():
            for g, group in enumerate(groups):
                if places[g] == len(group) or shapes.get(group[places[g]], weight.shape) != weight.shape:
                    continue
                moved = (*places[:g], places[g] + 1, *places[g + 1 :])
                before = following.get(moved, (0, None))[0]
                following[moved] = (ways + before, (group[places[g]], weight.name, trail))
        if not following:
            return Naming(
                {}, f"no parameter of any group has the shape of {weight.name}, {weight.shape}, at its turn"
            )
        if len(following) > _MOST:
            return Naming({}, _ambiguous(len(groups)))
        trails = following
    ((ways, trail),) = trails.values()
    if ways > 1:
        return Naming({}, _ambiguous(len(groups)))
    names = {}
    while trail is not None:
        id, name, trail = trail
        names[id] = name
    return Naming(names)


def _ambiguous(count: int) -> str:
    return f"it has {count:,} parameter groups, and the shapes allow more than one order of their parameters"
