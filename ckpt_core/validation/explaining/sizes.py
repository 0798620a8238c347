"""Sizes that meet in a forward pass, held against the arrays of the checkpoint: is it the data, or the model?"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ckpt_core.arrays import ArraySpec
from ckpt_core.config.rules import Rules, rules_of
from ckpt_core.rendering.folding import fold_names
from ckpt_core.schema import Checkpoint
from ckpt_core.validation.causes import leaves_of, likely_fields
from ckpt_core.validation.explaining.explanation import Explanation
from ckpt_core.validation.explaining.facts import Mismatch, Sizes, Weights
from ckpt_core.validation.report import LikelyField, Problem
from ckpt_core.validation.text import spec_text, values_text

__all__ = ["built_otherwise", "explained_sizes", "sided"]

_SHOWN: Final = 6
_COMPARED: Final = 40
_SETTINGS: Final = 4

_Meeting = tuple[str, Weights]
"""An array by its name, and the axis along which the data may meet it."""


def sided(facts: Sizes, found: Mapping[str, ArraySpec]) -> Sizes:
    """Return the sizes with the layer's told from the data's, where the checkpoint has one of the two alone."""
    if facts.is_sided or _is_there(facts.given, found) == _is_there(facts.wanted, found):
        return facts
    if _is_there(facts.wanted, found):
        return replace(facts, is_sided=True)
    return replace(facts, given=facts.wanted, wanted=facts.given, is_sided=True)


def built_otherwise(facts: Sizes, found: Mapping[str, ArraySpec]) -> Mismatch | None:
    """Return the difference, where the checkpoint has the layer's array as the data asks for it."""
    shapes = {spec.shape for spec in found.values()}
    if any(weights.shape in shapes for weights in facts.weights):
        return None
    for weights in facts.weights:
        trained = weights.with_size(facts.given, facts.wanted)
        if trained in shapes:
            return Mismatch(facts.error, nameless=(weights.shape, trained))
    return None


def explained_sizes(
    facts: Sizes,
    own: Checkpoint | None,
    found: Mapping[str, ArraySpec],
    path: str,
    verdict: tuple[str, ...],
    rules: Rules,
) -> Explanation:
    """Explain sizes of which the layer's is the checkpoint's, or of which the checkpoint says nothing.

    Arguments:
        facts: what the error says, told apart by `sided`.
        own: the checkpoint, or None.
        found: its arrays by name.
        path: where it is, or "".
        verdict: what stands in the way of opening it.
        rules: shape rules of the model.
    """
    if own is None:
        ways = () if path else ("ckpt explain CHECKPOINT says which arrays and settings have these sizes",)
        return Explanation(facts.error, _said(facts), path, None, ways, verdict)
    meetings = _meetings(facts, found)
    if not meetings:
        return _of_none(facts, path, verdict)
    fields = _fields(facts, meetings, own, found, rules) if facts.is_sided else ()
    cause = _said(facts)
    if facts.is_sided:
        cause += ", as in the checkpoint"
    way = f"ckpt config {shlex.quote(path or 'CHECKPOINT')} shows what it was trained with"
    if fields:
        asked = ", ".join(f"{item.field}={values_text(item.values)}" for item in fields[:_SETTINGS])
        way = f"prepare the data with {asked}; {way}"
    notes = [f"of that size in the checkpoint: {_listed(meetings, found)}", *map(_field_text, fields)]
    if facts.is_sided:
        notes.append("the data, or a setting of what comes before the layer, is another than in training")
    return Explanation(facts.error, cause, path, None, (way,), (*verdict, *notes), fields)


def _said(facts: Sizes) -> str:
    if facts.is_sided:
        return f"data of size {facts.given} met a layer that takes {facts.wanted}"
    return f"sizes {facts.given} and {facts.wanted} met, which have to be equal"


def _of_none(facts: Sizes, path: str, verdict: tuple[str, ...]) -> Explanation:
    """What is said where no array of the checkpoint can be the layer's."""
    if not facts.weights:  # it may be about anything: labels, masks
        cause = f"{_said(facts)}; no array of the checkpoint has either"
        return Explanation("", cause, path, notes=verdict)
    shapes = " or ".join(dict.fromkeys(str(list(one.shape)) for one in facts.weights))
    cause = (
        f"{_said(facts)}; no array of the checkpoint has the shape {shapes}, so the model was built otherwise"
    )
    way = f"ckpt validate {shlex.quote(path or 'CHECKPOINT')} --like TEMPLATE.json"
    return Explanation(facts.error, cause, path, None, (way,), verdict)


def _is_there(size: int, found: Mapping[str, ArraySpec]) -> bool:
    return any(size in spec.shape for spec in found.values())


def _meetings(facts: Sizes, found: Mapping[str, ArraySpec]) -> list[_Meeting]:
    """The arrays that can be the layer's."""
    if facts.weights:
        axes = {weights.shape: weights for weights in reversed(facts.weights)}
        return [(name, axes[spec.shape]) for name, spec in found.items() if spec.shape in axes]
    sizes = {facts.wanted} if facts.is_sided else {facts.wanted, facts.given}
    return [
        (name, Weights(spec.shape, axis))
        for name, spec in found.items()
        for axis, size in list(enumerate(spec.shape))
        if size in sizes
    ]


def _fields(
    facts: Sizes,
    meetings: list[_Meeting],
    own: Checkpoint,
    found: Mapping[str, ArraySpec],
    rules: Rules,
) -> tuple[LikelyField, ...]:
    """The fields of the configuration that make the one size, and could make the other."""
    problems = [
        Problem(
            "shape",
            name,
            found[name],
            ArraySpec(weights.with_size(facts.given, facts.wanted), found[name].dtype),
        )
        for name, weights in meetings[:_COMPARED]
    ]
    shapes = {name: spec.shape for name, spec in found.items()}
    return likely_fields(problems, shapes, shapes, own.config, rules_of(rules, leaves_of(shapes)))


def _field_text(item: LikelyField) -> str:
    instead = f", and would have to be {values_text(item.instead)} for the data" if item.instead else ""
    return f"{item.field} = {values_text(item.values)} in the checkpoint{instead} ({item.evidence})"


def _listed(meetings: list[_Meeting], found: Mapping[str, ArraySpec]) -> str:
    names = [(name, spec_text(found[name])) for name in dict.fromkeys(name for name, _ in meetings)]
    folded = fold_names(names)
    said = [f"{text} {names[first][1]}" for text, _, first in folded[:_SHOWN]]
    rest = len(folded) - len(said)
    return ", ".join(said) + (f", and {rest} more" if rest else "")
