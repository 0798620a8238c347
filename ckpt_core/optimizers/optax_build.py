"""Build the state that an optax recipe has, without optax: what `init` makes, with a state's slots and step in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UnsupportedError
from ckpt_core.families import Call, Family, Keeps, Shape, filled
from ckpt_core.families.pieces import COMMON, MASKED, SCHEDULED
from ckpt_core.keypath import join_name
from ckpt_core.layouts.values import array_of
from ckpt_core.optimizers.state import OptimizerState
from ckpt_core.optimizers.table import families
from ckpt_core.tree import Record, flatten, map_with_path
from ckpt_core.view import named_weights

__all__ = ["optax_native", "shape_of"]


def optax_native(state: OptimizerState, recipe: Call, params: Any) -> Any:
    """Return the state that `recipe` continues with.

    Arguments:
        state: a state of optax's conventions, its parameters named.
        recipe: the transformation, as `suggest_optimizer` proposes it.
        params: the tree of parameters that it updates; slots become trees of the same form.

    Raises:
        UnsupportedError: the recipe has a part whose state is not known.
    """
    leaves = [path for path, leaf in flatten(params) if array_of(leaf) is not None]
    names = [join_name(segments) for segments, _, _ in named_weights(params, [()])]
    build = _Build(state, params, dict(zip(leaves, names, strict=True)))
    made = build.of(recipe, _Scope(frozenset(names), state.step or 0))
    lost = sorted(build.slots.keys() - build.taken)
    if lost:
        raise UnsupportedError(f"the state keeps {', '.join(lost)}, which {recipe.function} does not")
    return made


@dataclass(frozen=True)
class _Scope:
    """Which parameters a transformation sees, and how many updates it has made."""

    names: frozenset[str]
    step: int


def shape_of(call: Call) -> tuple[Shape, Family | None]:
    """Return what a function of a recipe keeps, and the family that it is of, if any.

    Raises:
        UnsupportedError: nothing is known of the function.
    """
    found: list[tuple[Callable[[Call], Shape], Family | None]] = [
        (family.functions[call.function], family)
        for family in families()
        if call.function in family.functions
    ]
    if not found and call.function in COMMON:
        found = [(COMMON[call.function], None)]
    if not found:
        raise UnsupportedError(f"the state of {call.function} is not known")
    shape, family = found[0]
    return shape(call), family


class _Build:
    def __init__(self, state: OptimizerState, params: Any, names: Mapping[Any, str]) -> None:
        self.state = state
        self.params = params
        self.names = names
        self.slots = state.flat_slots()
        self.taken: set[str] = set()

    def of(self, call: Call, scope: _Scope) -> Any:
        if call.function == "optax.chain":
            return tuple(self.of(part, scope) for part in call.args)
        if call.function == "optax.multi_transform":
            return self._partitioned(call, scope)
        shape, family = shape_of(call)
        if isinstance(shape, Keeps):
            return self._state(shape, family, call, scope)
        return tuple(self._state(keeps, family, call, scope) for keeps in shape)

    def _partitioned(self, call: Call, scope: _Scope) -> Record:
        transforms, labels = call.args
        by_label = labels.args[0]
        inner = {}
        for label, part in transforms.items():
            names = frozenset(by_label.get(label, ()))
            steps = [self.state.steps[name] for name in names if name in self.state.steps]
            below = _Scope(names & scope.names, steps[0] if steps else scope.step)
            inner[label] = Record(MASKED.name, {"inner_state": self.of(part, below)})
        return Record("optax.transforms._combining.PartitionState", {"inner_states": inner})

    def _state(self, keeps: Keeps, family: Family | None, call: Call, scope: _Scope) -> Record:
        made: dict[str, Any] = {}
        for field in keeps.fields:
            if field == "inner_state":
                made[field] = Record("optax._src.base.EmptyState")
            elif field == "count":
                position = (self.state.schedule or {}).get("count") if keeps == SCHEDULED else None
                count = scope.step if position is None else position
                made[field] = LazyArray.from_numpy(np.asarray(count, np.int32))
            else:
                made[field] = self._slot(field, keeps, family, call, scope)
        return Record(keeps.name, made)

    def _slot(self, field: str, keeps: Keeps, family: Family | None, call: Call, scope: _Scope) -> Any:
        self.taken.add(keeps.neutral.get(field, field))
        arrays = self.slots.get(keeps.neutral.get(field, field), {})

        def leaf(path: Any, node: Any) -> Any:
            name = self.names.get(path)
            if name is None:
                return node
            if name not in scope.names:
                return Record("optax.transforms._masking.MaskedNode")
            if name in arrays:
                return arrays[name]
            param = array_of(node)
            assert param is not None
            return filled(param, 0) if family is None else family.initial(field, param, call)

        return map_with_path(leaf, self.params)
