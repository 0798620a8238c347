"""explain_mismatch: the config field behind two shapes that should be equal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ckpt_core.errors import UsageError
from ckpt_core.shapes import Equation, Leaf, ShapeRules, solve
from ckpt_core.shapes.rules import equations_of_shape

__all__ = ["Cause", "explain_counts", "explain_mismatch"]


@dataclass(frozen=True, slots=True)
class Cause:
    """A config field that would make a model fit, or one of several that could.

    Arguments:
        field: the name that the shape rule uses.
        values: what it can have been when the checkpoint was written, in ascending order.
        instead: what it can be in the model.
        equation: the checkpoint's side: "72 = 2**2 * sample_size * 3".
    """

    field: str
    values: tuple[int, ...]
    instead: tuple[int, ...]
    equation: str

    @property
    def value(self) -> int | None:
        """The one value in the checkpoint; None where there are several."""
        return self.values[0] if len(self.values) == 1 else None


def explain_mismatch(
    name: str,
    expected: tuple[int, ...],
    found: tuple[int, ...],
    rules: ShapeRules | Iterable[ShapeRules],
    known: Mapping[str, int] | None = None,
) -> tuple[Cause, ...]:
    """Return which config fields explain that one array has another shape than a model expects.

    A field is a cause when changing it alone makes both shapes.

    Arguments:
        name: the array's name, segments joined by `/`.
        expected: its shape in the model.
        found: its shape in the checkpoint.
        rules: one rule set, or several.
        known: values of config fields that both sides share, where they are known.

    Returns:
        The causes, those with the fewest possible values first; empty where no rule says anything.

    Example:
        >>> explain_mismatch("slots_mu", (7, 64), (32, 64), ShapeRules({"slots_mu": "num_slots slot_dim"}))
        (Cause(field='num_slots', values=(32,), instead=(7,), equation='32 = num_slots'),)
    """
    causes: dict[str, Cause] = {}
    for rule in (rule for one in _each(rules) for rule in one.rules):
        if rule.dimensions.is_count or not rule.fits(name):
            continue
        try:
            ours, theirs = (equations_of_shape(rule, name, shape) for shape in (found, expected))
        except UsageError:
            continue
        for mine, other in zip(ours, theirs, strict=False):
            for cause in _causes(mine, other, known or {}):
                causes.setdefault(cause.field, cause)
    return _in_order(causes.values())


def explain_counts(
    expected: Sequence[Leaf],
    found: Sequence[Leaf],
    rules: ShapeRules | Iterable[ShapeRules],
    known: Mapping[str, int] | None = None,
) -> tuple[Cause, ...]:
    """Return which config fields explain that a checkpoint has more or fewer entries than a model expects.

    Arguments:
        expected: the model's arrays, as (name, shape) pairs.
        found: the checkpoint's.
        rules: one rule set, or several.
        known: values of config fields that both sides share.
    """
    causes: dict[str, Cause] = {}
    for rule in (rule for one in _each(rules) for rule in one.rules if rule.dimensions.is_count):
        only = ShapeRules({rule.pattern: rule.text})
        for mine, other in zip(only.equations(found), only.equations(expected), strict=False):
            for cause in _causes(mine, other, known or {}):
                causes.setdefault(cause.field, cause)
    return _in_order(causes.values())


def _each(rules: ShapeRules | Iterable[ShapeRules]) -> tuple[ShapeRules, ...]:
    return (rules,) if isinstance(rules, ShapeRules) else tuple(rules)


def _causes(mine: Equation, other: Equation, known: Mapping[str, int]) -> list[Cause]:
    if mine.size == other.size:
        return []
    found = []
    for name in mine.names:
        shared = {key: value for key, value in known.items() if key != name and key in mine.names}
        rows = [solve([equation], shared).rows for equation in (mine, other)]
        first, second = (
            {
                tuple(sorted((k, v) for k, v in row.items() if k != name)): row[name]
                for row in side
                if name in row
            }
            for side in rows
        )
        both = [key for key in first if key in second]
        if both:
            values, instead = (tuple(sorted({side[key] for key in both})) for side in (first, second))
            found.append(Cause(name, values, instead, mine.text(shared)))
    return found


def _in_order(causes: Iterable[Cause]) -> tuple[Cause, ...]:
    return tuple(sorted(causes, key=lambda cause: len(cause.values)))
