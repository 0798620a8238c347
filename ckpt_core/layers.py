"""Layer and Line: what is known of one layer type in two frameworks, as data; a row of the table of layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Layer", "Line", "line"]


class Line(NamedTuple):
    """From torch arrays of a layer to Flax arrays of it.

    Arguments:
        source, target: names within the layer: ("weight",), ("query/kernel", "key/kernel", "value/kernel"). They are
            patterns, so that captures stand for what repeats: "weight_ih_l{i}".
        ops: the chain, as text; `{num_heads}` stands for a setting of the layer.
        without: the name of a source; the line applies where the layer does not have it.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    ops: tuple[str, ...] = ()
    without: str = ""


def line(names: str, *ops: str, without: str = "") -> Line:
    """Return a line from `source ... -> target ...` and ops.

    Example:
        >>> line("weight -> kernel", "transpose")
        Line(source=('weight',), target=('kernel',), ops=('transpose',), without='')
    """
    source, _, target = names.partition("->")
    return Line(tuple(source.split()), tuple(target.split()), ops, without)


@dataclass(frozen=True, slots=True)
class Layer:
    """One row of the table of layers.

    Arguments:
        name: what it is called in tables: "linear".
        torch: the names of the classes in `torch.nn` that it is for.
        flax: the names of the classes of linen ("nn.Dense") and NNX ("nnx.Linear").
        lines: which array becomes which, and how; a line applies where the layer has all its sources.
        settings: what the ops need to know besides shapes: ("num_heads",).
        when: what tells this row from another one for the same classes, as (setting, value) pairs.
        note: where the frameworks' formulas or defaults differ, one sentence each.
    """

    name: str
    torch: tuple[str, ...]
    flax: tuple[str, ...]
    lines: tuple[Line, ...]
    settings: tuple[str, ...] = ()
    when: tuple[tuple[str, object], ...] = ()
    note: tuple[str, ...] = ()
