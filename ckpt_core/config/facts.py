"""Facts: what the shapes of a checkpoint's arrays, and those of data, say about the fields of a config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ckpt_core.arrays import ArraySpec, LazyArray
from ckpt_core.config.names import Names
from ckpt_core.errors import UsageError
from ckpt_core.shapes import Equation, Leaf, ShapeRules
from ckpt_core.shapes.expression import Expression, Name, Operation
from ckpt_core.shapes.rules import equations_of_shape
from ckpt_core.template import template_of

__all__ = ["Facts", "facts_of"]


@dataclass(frozen=True)
class Facts:
    """Equations over the fields of a config.

    Arguments:
        shapes: from the checkpoint.
        data: from the data.
        notes: rules that fit nothing.
    """

    shapes: tuple[Equation, ...] = ()
    data: tuple[Equation, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """Every name in them."""
        return frozenset(name for equation in (*self.shapes, *self.data) for name in equation.names)


def facts_of(
    sets: Sequence[ShapeRules],
    leaves: Sequence[Leaf],
    names: Names,
    data: Any = None,
    bind: str | Mapping[str, str] | None = None,
) -> Facts:
    """Return what shapes say, in terms of the fields of a config; names that are no field keep their spelling.

    Arguments:
        sets: the rule sets.
        leaves: the checkpoint's arrays.
        names: the fields.
        data: one array (or its shape), or a tree of them.
        bind: the axes of the data: "batch sample_size h w c", or such a text for each array by name; those of the
            rule sets without it.

    Raises:
        UsageError: no rule of the sets fits anything, or the data and its axes do not go together.
    """
    equations = [equation for one in sets for equation in one.equations(leaves)]
    notes = [note for one in sets for note in one.unmatched(leaves)]
    if sets and not equations and any(one.shapes for one in sets):
        raise UsageError("none of the shape rules fits an array", remedy="\n  ".join(notes[:5]))
    found = [] if data is None else _data_equations(sets, data, bind)
    return Facts(
        tuple(_renamed(equation, names) for equation in equations),
        tuple(_renamed(equation, names) for equation in found),
        tuple(notes),
    )


def _renamed(equation: Equation, names: Names) -> Equation:
    return replace(equation, expression=_with_fields(equation.expression, names))


def _with_fields(node: Expression, names: Names) -> Expression:
    if isinstance(node, Name):
        return Name(names.find(node.name) or node.name)
    if isinstance(node, Operation):
        return Operation(node.sign, _with_fields(node.left, names), _with_fields(node.right, names))
    return node


def _data_equations(
    sets: Sequence[ShapeRules], data: Any, bind: str | Mapping[str, str] | None
) -> list[Equation]:
    shapes = _shapes_of(data)
    if isinstance(bind, str):
        bind = dict.fromkeys(shapes, bind)
    table = ShapeRules({}, data=bind or {name: text for one in sets for name, text in one.data.items()})
    if not table.bindings:
        raise UsageError(
            "the axes of the data have no names",
            remedy="Pass bind='batch sample_size h w c', or put a table [data] into the rules.",
        )
    found = []
    for rule in table.bindings:
        fitting = [(name, shape) for name, shape in shapes.items() if rule.fits(name)]
        if not fitting:
            raise UsageError(
                f"the data has no array {rule.pattern!r}", remedy=f"It has: {', '.join(list(shapes)[:8])}."
            )
        found += [e for name, shape in fitting for e in equations_of_shape(rule, name, shape)]
    return found


def _shapes_of(data: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of data by name; a single array, or its shape, is called `data`."""
    if isinstance(data, (ArraySpec, LazyArray, np.ndarray)):
        return {"data": tuple(data.shape)}
    if isinstance(data, (tuple, list)) and data and all(isinstance(size, int) for size in data):
        return {"data": tuple(data)}
    if isinstance(data, Mapping) and all(_is_shape(value) for value in data.values()):
        return {str(name): tuple(shape) for name, shape in data.items()}
    tree = data if isinstance(data, (Mapping, list, tuple)) else {"data": data}
    return {slot.name: slot.spec.shape for slot in template_of(tree).slots}


def _is_shape(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and all(isinstance(size, int) for size in value)
