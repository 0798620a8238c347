"""The leaves of both sides under one key each, and their differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ckpt_core.arrays import ArraySpec, LazyArray
from ckpt_core.extra_state import is_in_extra_state
from ckpt_core.flat import flat_names
from ckpt_core.framework import Slot, Template
from ckpt_core.keypath import join_name
from ckpt_core.runs.order import natural
from ckpt_core.schema import Checkpoint
from ckpt_core.validation.names import near_names
from ckpt_core.validation.report import Problem

__all__ = ["Comparison", "compared", "expected_by_key", "found_by_key", "optional_names"]

Value = TypeVar("Value")


@dataclass(frozen=True)
class Comparison:
    """What two sides have in common, and what not.

    Arguments:
        problems: the differences by name, numbers as numbers: frameworks differ in the order of a model's arrays.
        matched: the names that agree in everything.
        through: the names that the model has and that a tied array of the checkpoint fills, by their name.
    """

    problems: tuple[Problem, ...]
    matched: tuple[str, ...]
    through: Mapping[str, str]


def found_by_key(ckpt: Checkpoint) -> dict[str, tuple[LazyArray, str]]:
    """Return the weights of a checkpoint and their roles by name; a buffer that has a parameter's name says so."""
    weights = ckpt.named_weights
    params = flat_names((segments, array) for segments, array, is_buffer in weights if not is_buffer)
    buffers = flat_names((segments, array) for segments, array, is_buffer in weights if is_buffer)
    return _keyed(
        [(name, (array, "param")) for name, array in params if not is_in_extra_state(name)]
        + [(name, (array, "buffer")) for name, array in buffers]
    )


def expected_by_key(template: Template) -> dict[str, Slot]:
    """Return the slots of a template by name, with the same keys as `found_by_key`."""
    return _keyed([(slot.name, slot) for slot in template.slots])


def _keyed(pairs: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    keyed: dict[str, Value] = {}
    for name, value in pairs:
        keyed[name if name not in keyed else f"buffers/{name}"] = value
    return keyed


def compared(
    found: Mapping[str, ArraySpec],
    expected: Mapping[str, Slot],
    optional: Iterable[str] = (),
    roles: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare two sides by name; reads no array.

    Arguments:
        found: what is in the checkpoint.
        expected: what is in the model.
        optional: names that the checkpoint may have or lack.
        roles: those of the checkpoint's leaves, for what only it has.
    """
    matched: list[str] = []
    through = _through_ties(found, expected)
    known = expected.keys() | set(optional)
    rest = {name: spec for name, spec in found.items() if name not in known}
    absent = {name: slot.spec for name, slot in expected.items() if through.get(name, name) not in found}
    near = near_names(absent, rest)
    problems: list[Problem] = []
    for name, slot in expected.items():
        spec = found.get(through.get(name, name))
        if spec is None:
            problems.append(Problem("missing", name, None, slot.spec, slot.role, near.get(name)))
        elif spec == slot.spec:
            matched.append(name)
        else:
            kind = "shape" if spec.shape != slot.spec.shape else "dtype"
            problems.append(Problem(kind, name, spec, slot.spec, slot.role))
    for name, spec in rest.items():
        problems.append(Problem("unexpected", name, spec, None, (roles or {}).get(name, "param")))
    return Comparison(tuple(sorted(problems, key=lambda one: natural(one.name))), tuple(matched), through)


def _through_ties(found: Mapping[str, ArraySpec], expected: Mapping[str, Slot]) -> dict[str, str]:
    """The names that the checkpoint lacks, while it has another name of the same array."""
    groups: dict[str, list[str]] = {}
    for name, slot in expected.items():
        if slot.tied is not None:
            first = join_name(slot.tied)
            groups.setdefault(first, [first]).append(name)
    through = {}
    for names in groups.values():
        there = next((name for name in names if name in found), None)
        if there is not None:
            through.update({name: there for name in names if name not in found})
    return through


def optional_names(template: Template, found: Mapping[str, ArraySpec]) -> dict[str, str]:
    """Return what a checkpoint holds of what it may lack: the name in the model, and the one that it has there.

    The words of a random key stand below the key, or in its place where a file keeps them as a plain array.
    """
    names = [join_name(path) for path in template.optional]
    pairs = [(name, there) for name in names for there in (name, name.removesuffix("/data"))]
    return {name: there for name, there in reversed(pairs) if there in found}
