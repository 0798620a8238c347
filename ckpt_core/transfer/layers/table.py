"""The table of layers: finding a row, and its rules for one layer of one model."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from ckpt_core.errors import UsageError
from ckpt_core.layers import Layer
from ckpt_core.registry import registry
from ckpt_core.transfer.layers import attention, convolution, dense, norm, recurrent, reparametrised
from ckpt_core.transfer.optext import parse_op
from ckpt_core.transfer.patterns import parse_pattern
from ckpt_core.transfer.plan import PROVEN, Evidence, Rule

__all__ = ["BUILTIN", "find_layer", "known_layers", "layer_rules"]

BUILTIN: Final[tuple[Layer, ...]] = (
    *dense.ROWS,
    *convolution.ROWS,
    *norm.ROWS,
    *attention.ROWS,
    *recurrent.ROWS,
    *reparametrised.ROWS,
)

_SETTING: Final = re.compile(r"\{(\w+)\}")


def known_layers() -> list[Layer]:
    """Return every row of the table, those of plugins first."""
    return [*(layer for _, layer in registry().layers), *BUILTIN]


def find_layer(torch: str, flax: str, settings: Mapping[str, Any] | None = None) -> Layer:
    """Return the row for two classes.

    Arguments:
        torch: the name of a class in `torch.nn`, such as "Linear".
        flax: the name of a class of linen or NNX, such as "nn.Dense" or "nnx.Linear".
        settings: what is known of the layer; of several rows the one that asks for most of it.

    Raises:
        UsageError: there is none; lists those for the torch class.
    """
    settings = settings or {}
    rows = [row for row in known_layers() if torch in row.torch and flax in row.flax]
    fits = [row for row in rows if all(settings.get(name) == value for name, value in row.when)]
    if fits:
        return max(fits, key=lambda row: len(row.when))
    others = [f"{', '.join(row.flax)}{_conditions(row)}" for row in known_layers() if torch in row.torch]
    raise UsageError(
        f"no row of the table of layers leads from {torch} to {flax}",
        remedy=f"From {torch} to: {'; '.join(others)}."
        if others
        else "A plugin can add one: ckpt_core_layers.",
    )


def _conditions(row: Layer) -> str:
    return f" with {', '.join(f'{name}={value!r}' for name, value in row.when)}" if row.when else ""


def layer_rules(
    layer: Layer,
    names: Collection[str],
    *,
    source: tuple[str, ...] = (),
    target: tuple[str, ...] = (),
    settings: Mapping[str, Any] | None = None,
    ending: str = "",
) -> tuple[Rule, ...]:
    """Return the rules that a row has for one layer.

    Arguments:
        layer: the row.
        names: the names of the torch arrays within the layer, joined by `/`, without `ending`.
        source, target: the segments of the layer's names on both sides.
        settings: the layer's settings that the ops need, such as num_heads.
        ending: what torch puts after each name, such as "_l0" in an LSTM of several levels.

    Raises:
        UsageError: an array has no place in the row, or a setting is missing.

    Example:
        >>> row = find_layer("Linear", "nn.Dense")
        >>> [str(rule.ops) for rule in layer_rules(row, {"weight"}, source=("fc",), target=("Dense_0",))]
        ['(Transpose(axes=()),)']
    """
    known = {name.replace("/", "."): name for name in names}
    placed: set[str] = set()
    rules = []
    why = (Evidence("type", f"{layer.torch[0]} -> {', '.join(layer.flax)}: {layer.name}"),)
    for line in layer.lines:
        if line.without in known or not all(name in known for name in line.source):
            continue
        placed.update(line.source)
        ops = tuple(parse_op(_with_settings(text, settings or {}, layer)) for text in line.ops)
        ours = tuple(parse_pattern(name + ending).below(source) for name in line.source)
        theirs = tuple(parse_pattern(name).below(target) for name in line.target)
        rules.append(Rule(ours, theirs, ops, PROVEN, why))
    left = sorted(known.keys() - placed)
    if left:
        raise UsageError(
            f"{', '.join(left)} of a {layer.torch[0]} has no place in {' or '.join(layer.flax)}",
            remedy=" ".join(layer.note),
        )
    return tuple(rules)


def _with_settings(text: str, settings: Mapping[str, Any], layer: Layer) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in settings:
            raise UsageError(f"the row {layer.name!r} needs the setting {match[1]}")
        return str(int(settings[match[1]]))

    return _SETTING.sub(value, text)
