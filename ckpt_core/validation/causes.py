"""Which fields of the configuration explain a report's differences: from shape rules, saved values and counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ckpt_core.arrays import ArraySpec
from ckpt_core.config import ShapeRules, explain_counts, explain_mismatch
from ckpt_core.config.names import Names
from ckpt_core.config.rules import flat_aliases
from ckpt_core.keypath import split_name
from ckpt_core.shapes import Leaf
from ckpt_core.shapes.rules import leaf_names
from ckpt_core.validation.report import LikelyField, Problem

__all__ = ["count_notes", "leaves_of", "likely_fields"]

_NUMBER: Final = re.compile(r"\d+")
_EXPLAINED: Final = 40
"""Different shape mismatches, numbers in names left out, for which a cause is sought."""


def leaves_of(shapes: Mapping[str, tuple[int, ...]]) -> list[Leaf]:
    """Return arrays as shape rules take them: names without what a wrapper put before all of them."""
    names = leaf_names([split_name(name) for name in shapes])
    return list(zip(names, shapes.values(), strict=True))


def likely_fields(
    problems: Iterable[Problem],
    found: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, tuple[int, ...]],
    config: Mapping[str, Any],
    rules: Sequence[ShapeRules] = (),
) -> tuple[LikelyField, ...]:
    """Return the fields that explain shape mismatches and missing or unexpected blocks.

    A shape rule is asked first, with the saved values of the other fields, and without them where nothing fits
    these; a field of which another value was saved than it would take is left out. Where no rule says anything, a
    saved value that is just the checkpoint's size along the axis that differs is shown as what it is, a value of that
    size.

    Arguments:
        problems: the differences.
        found, expected: the shapes of all arrays of both sides.
        config: the saved hyperparameters.
        rules: the shape rules to ask.
    """
    known = {key: value for key, value in _flat(config) if type(value) is int}
    shared = _shared(known, rules)
    causes: dict[str, LikelyField] = {}
    by_pattern: dict[str, Problem] = {}
    for problem in problems:
        if problem.kind == "shape":
            by_pattern.setdefault(_NUMBER.sub("#", problem.name), problem)
    for problem in list(by_pattern.values())[:_EXPLAINED]:
        assert isinstance(problem.found, ArraySpec) and isinstance(problem.expected, ArraySpec)
        shapes = problem.expected.shape, problem.found.shape
        name = leaf_names([split_name(problem.name)])[0]
        given = [
            LikelyField(
                cause.field, _preferred(cause.values, shared.get(cause.field)), cause.instead, cause.equation
            )
            for cause in explain_mismatch(name, *shapes, rules, shared)
            or explain_mismatch(name, *shapes, rules)
        ]
        for field in given or _saved(*shapes, known):
            causes.setdefault(field.field, field)
    for cause in explain_counts(leaves_of(expected), leaves_of(found), rules) if rules else ():
        causes.setdefault(cause.field, LikelyField(cause.field, cause.values, cause.instead, cause.equation))
    settled = [field for field in causes.values() if shared.get(field.field, field.values[0]) in field.values]
    return tuple(sorted(settled or causes.values(), key=lambda field: len(field.values)))


def _shared(known: Mapping[str, int], rules: Sequence[ShapeRules]) -> dict[str, int]:
    """The saved values by the names that the rules use."""
    fields = Names(known, flat_aliases(rules))
    found = {name: fields.find(name) for one in rules for name in one.names}
    return {name: known[field] for name, field in found.items() if field is not None}


def _preferred(values: tuple[int, ...], saved: int | None) -> tuple[int, ...]:
    return (saved,) if saved in values else values


def _saved(expected: tuple[int, ...], found: tuple[int, ...], known: Mapping[str, int]) -> list[LikelyField]:
    """Saved values that are the size of an axis that differs."""
    if len(expected) != len(found):
        return []
    differing = [(mine, other) for mine, other in zip(found, expected, strict=True) if mine != other]
    return [
        LikelyField(key, (mine,), (other,), f"the saved config has {key} = {mine}, the size that differs")
        for mine, other in differing
        for key, value in known.items()
        if value == mine
    ]


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# Repeated blocks.


def count_notes(found: Iterable[str], expected: Iterable[str]) -> list[str]:
    """Return a sentence for each list of blocks of which one side has more.

    Example:
        >>> count_notes(["h/0/w", "h/1/w", "h/2/w"], ["h/0/w", "h/1/w"])
        ['h has 3 entries in the checkpoint, 2 in the model']
    """
    ours, theirs = _entries(found), _entries(expected)
    return [
        f"{path} has {len(ours[path])} entries in the checkpoint, {len(theirs[path])} in the model"
        for path in ours
        if path in theirs and len(ours[path]) != len(theirs[path])
    ]


def _entries(names: Iterable[str]) -> dict[str, set[str]]:
    """The numbers of the entries below each path: `h/0`, `h/1`, or `Dense_0`, `Dense_1`."""
    found: dict[str, set[str]] = {}
    for holder in dict.fromkeys(name.rpartition("/")[0] for name in names):
        segments = holder.split("/")
        for depth, segment in enumerate(segments):
            match = _NUMBERED.match(segment)
            if match:
                above = [_NUMBER.sub("*", part) for part in segments[:depth]]
                path = "/".join([*above, match[1]] if match[1] else above) or "the top level"
                found.setdefault(path, set()).add(match[2])
    return found


_NUMBERED: Final = re.compile(r"(.*?)_?([0-9]{1,6})\Z")
