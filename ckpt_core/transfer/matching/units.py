"""Units: the arrays of one layer as one thing.

A unit is what a framework calls a layer: `attn/query` with its weight and its bias.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ckpt_core.framework import Slot, Template
from ckpt_core.transfer.matching.vocabulary import BUFFERS, PARTS
from ckpt_core.transfer.matching.words import read_segment

__all__ = [
    "Unit",
    "core_of",
    "style_of",
    "unit_path",
    "units_of",
]

_COLLECTIONS: Final = frozenset({"params", "batch_stats", "constants", "buffers"})
_VALUES: Final = frozenset({"value", "raw_value"})
_WEIGHT_NORM: Final = {"original0": "g", "original1": "v"}
"""What `torch.nn.utils.parametrizations.weight_norm` calls the sizes and the directions, `weight_norm` g and v."""
_PACKED: Final = {"in_proj_weight": ("in_proj", "weight"), "in_proj_bias": ("in_proj", "bias")}

FLAX_WORDS: Final = frozenset({"kernel", "scale", "embedding"})


@dataclass(frozen=True)
class Unit:
    """One layer's arrays.

    Arguments:
        path: where it is; for an array that no layer holds, its own path.
        parts: "weight", "bias", "mean", "var" -> slot; an array that no layer holds is "weight".
        bare: whether its array is held by no layer.
        position: the place of its first array in the template's order.
        members: of a layer that the other side cuts up in another way, its arrays by their names within it.
        ending: what torch puts after these names: "_l0".
        pieces: of what is one packed matrix on the other side, the units that it is made of.
    """

    path: tuple[str, ...]
    parts: dict[str, Slot]
    bare: bool
    position: int
    members: dict[str, Slot] = field(default_factory=dict)
    ending: str = ""
    pieces: tuple[Unit, ...] = ()

    @property
    def main(self) -> Slot:
        """The weight, or what stands in for one."""
        return self.parts.get("weight") or next(iter(self.parts.values()))

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All its arrays."""
        if self.pieces:
            return tuple(slot for piece in self.pieces for slot in piece.slots)
        return tuple((self.members or self.parts).values())

    @property
    def layer_type(self) -> str:
        """The type of the layer, where it is known: "Linear", "Dense"."""
        return str(self.main.layer.get("type", "")).rpartition(".")[2]

    @property
    def may_be_interleaved(self) -> bool:
        """Whether its name is one that packs of queries, keys and values have which lie head by head."""
        return any(
            token.concept == "interleaved"
            for segment in self.path[-2:]
            for token in read_segment(segment).tokens
        )

    @property
    def packed(self) -> int:
        """How many of queries, keys and values its name says that it holds in one matrix; 0 where it does not."""
        said = {token.concept for token in read_segment(self.path[-1]).tokens}
        return len(said & {"query", "key", "value"}) if "packed" in said else 0

    @property
    def size(self) -> int:
        """The number of elements of its main array."""
        return math.prod(self.main.spec.shape)

    @property
    def kind(self) -> tuple[tuple[str, ...], int]:
        """Which parts it has, and how many axes the main one has."""
        return tuple(sorted(self.parts)), len(self.main.spec.shape)


def style_of(template: Template) -> str:
    """Return the framework whose layouts a template has: what it says, or what its names say; "" if they do not."""
    if template.framework:
        return template.framework
    ends = {core_of(slot.path)[-1] for slot in template.slots if slot.path}
    if "weight" in ends and "kernel" not in ends:  # a torch module may well have a `scale` of its own
        return "torch"
    return "flax" if ends & FLAX_WORDS else ""


def core_of(path: tuple[str, ...]) -> tuple[str, ...]:
    """The path without what containers of variables add: collections before, `value` behind.

    Of torch's two spellings of a normalised weight, it is the older: `weight_g`, `weight_v`.
    """
    while len(path) > 1 and path[0] in _COLLECTIONS:
        path = path[1:]
    while len(path) > 1 and path[-1] in _VALUES:
        path = path[:-1]
    if len(path) > 2 and path[-3] == "parametrizations" and path[-1] in _WEIGHT_NORM:
        path = (*path[:-3], f"{path[-2]}_{_WEIGHT_NORM[path[-1]]}")
    return path


def units_of(slots: Iterable[Slot]) -> list[Unit]:
    """Group slots into units, in order; bookkeeping buffers are left out."""
    found: dict[tuple[str, ...], Unit] = {}
    for position, slot in enumerate(slots):
        path = core_of(slot.path)
        if path[-1] in BUFFERS:
            continue
        if path[-1] in _PACKED:
            name, part = _PACKED[path[-1]]
            path, bare = (*path[:-1], name), False
        else:
            part, bare = PARTS.get(path[-1], ""), False
            if part and len(path) > 1:
                path = path[:-1]
            else:
                part, bare = "weight", True
        unit = found.get(path)
        if unit is None or part in unit.parts:
            if unit is not None:  # `kernel` beside `scale`: each for itself
                path, part, bare = core_of(slot.path), "weight", True
            found[path] = Unit(path, {part: slot}, bare, position)
        else:
            unit.parts[part] = slot
    return list(found.values())


def unit_path(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the path of the unit that the array at a path belongs to."""
    core = core_of(path)
    return core[:-1] if len(core) > 1 and (core[-1] in PARTS or core[-1] in _PACKED) else core
