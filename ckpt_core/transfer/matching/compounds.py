"""Compounds: several arrays that belong together on one side, and are cut up in another way on the other.

Recurrent layers and packed attention, as the table of layers has them; and queries, keys and values of one parent,
which are one packed matrix elsewhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ckpt_core.arrays import ArraySpec
from ckpt_core.framework import Slot
from ckpt_core.layers import Layer
from ckpt_core.transfer.layers import known_layers
from ckpt_core.transfer.matching.units import Unit, core_of
from ckpt_core.transfer.matching.words import read_segment

__all__ = ["ROLES", "cut_rows", "layers_in", "packs_in"]

_DEEPEST: Final = 4
_ENDING: Final = re.compile(r"(.+?)(_l\d+(?:_reverse)?)?\Z")
_LEVEL: Final = re.compile(r"_l(\d+)(_reverse)?")

_KEPT_BESIDE: Final = frozenset({("kernel", "scale"), ("kernel", "u"), ("kernel", "sigma")})
_INSTANCE: Final = "layer_instance/"
"""What linen calls a wrapped layer that is at the top."""

ROLES: Final = ("query", "key", "value")
"""What a packed matrix holds, in this order."""

Path = tuple[str, ...]


def cut_rows() -> list[Layer]:
    """Return the rows of the table of layers whose arrays are cut up in another way, ties left out."""
    return [
        row
        for row in known_layers()
        if any("/" in target for line in row.lines for target in line.target) and "tied" not in dict(row.when)
    ]


def layers_in(slots: Iterable[Slot], style: str) -> list[Unit]:
    """Return the layers of such rows among slots, each as one unit with members."""
    below: dict[Path, dict[str, Slot]] = {}
    position: dict[Path, int] = {}
    for place, slot in enumerate(slots):
        path = _unwrapped(core_of(slot.path)) if style == "flax" else core_of(slot.path)
        for depth in range(1, min(_DEEPEST, len(path)) + 1):
            below.setdefault(path[:-depth], {})["/".join(path[-depth:])] = slot
            position.setdefault(path[:-depth], place)
    rows = _names_of(cut_rows(), style)
    find = _torch_layers if style == "torch" else _flax_layers
    found = {path: find(names, rows) for path, names in below.items()}
    return [
        _unit(path, ending, members, position[path], any(e.endswith("_reverse") for e, _ in layers))
        for path, layers in found.items()
        for ending, members in layers
    ]


def _unwrapped(path: Path) -> Path:
    """The path of what a wrapper of linen keeps beside its layer, as one within the layer.

    `WeightNorm_0` has `Dense_0/kernel/scale` as one key; the array belongs to `Dense_0`.
    """
    inner = tuple(path[-1].split("/"))
    if len(path) < 2 or len(inner) < 3 or inner[-2:] not in _KEPT_BESIDE:
        return path
    return (*path[:-2], *inner)


@dataclass(frozen=True)
class _Names:
    """What the layers of a row are told by: all names, and those of which one set is there."""

    known: frozenset[str]
    needed: tuple[frozenset[str], ...]


def _names_of(rows: Iterable[Layer], style: str) -> list[_Names]:
    found = []
    for row in rows:
        head = row.lines[0].target
        if style == "torch":
            known = frozenset(name for line in row.lines for name in line.source)
            needed = {frozenset(line.source) for line in row.lines if line.target == head and line.source}
        else:
            known = frozenset(name.replace("\\/", "/") for line in row.lines for name in line.target)
            needed = {frozenset(name.replace("\\/", "/") for name in head)}
        found.append(_Names(known, tuple(needed)))
    return found


def _torch_layers(names: Mapping[str, Slot], rows: list[_Names]) -> list[tuple[str, dict[str, Slot]]]:
    """The layers at one place: several where torch numbers their levels and directions."""
    groups: dict[str, dict[str, Slot]] = {}
    for name, slot in names.items():
        match = _ENDING.match(name)
        assert match is not None
        groups.setdefault(match[2] or "", {})[match[1].replace("/", ".")] = slot
    found = []
    for ending, members in groups.items():
        for row in rows:
            if any(needed <= members.keys() for needed in row.needed):
                ours = {name: slot for name, slot in members.items() if name in row.known}
                if len(ours) > 1:
                    found.append((ending, ours))
                    break
    return found


def _flax_layers(names: Mapping[str, Slot], rows: list[_Names]) -> list[tuple[str, dict[str, Slot]]]:
    best: dict[str, Slot] = {}
    for row in rows:
        for below in ("", _INSTANCE):
            if all(name.startswith(below) and name[len(below) :] in names for name in row.needed[0]):
                ours = {below + name: slot for name, slot in names.items() if below + name in row.known}
                best = max(best, ours, key=len)
    return [("", best)] if best else []


def _unit(path: Path, ending: str, members: dict[str, Slot], position: int, two_ways: bool) -> Unit:
    """One unit; its size is that of the matrices alone, since what else there is differs: biases, norms, vectors."""
    shapes = [slot.spec.shape for name, slot in members.items() if re.split("[./_]", name)[-1] != "bias"]
    size = sum(math.prod(shape) for shape in shapes if sum(n > 1 for n in shape) > 1)
    first = next(iter(members.values()))
    place = Slot(first.path, ArraySpec((size,), first.spec.dtype), first.role, first.layer)
    level = _LEVEL.fullmatch(ending)
    if level is not None:
        path = (*path, f"layer{level[1]}", *((("backward" if level[2] else "forward"),) if two_ways else ()))
    return Unit(path or ("",), {"layer": place}, False, position, members=members, ending=ending)


def packs_in(units: Iterable[Unit], roles: Mapping[int, str]) -> list[Unit]:
    """Return the queries, keys and values of one parent as one unit each; two of three where that is all there is.

    Arguments:
        units: the units that are left.
        roles: by the identity of a unit, which of the three it is.
    """
    groups: dict[tuple[Path, str], dict[str, Unit]] = {}
    for unit in units:
        role = roles.get(id(unit))
        if role and len(unit.main.spec.shape) >= 2 and "weight" in unit.parts:
            groups.setdefault((unit.path[:-1], _without_role(unit.path[-1])), {})[role] = unit
    found = []
    for (parent, rest), pieces in groups.items():
        for wanted, word in ((ROLES, "qkv"), (ROLES[1:], "kv")):
            if (
                all(role in pieces for role in wanted)
                and len({frozenset(pieces[r].parts) for r in wanted}) == 1
            ):
                chosen = tuple(pieces[role] for role in wanted)
                size = sum(piece.size for piece in chosen)
                place = Slot(chosen[0].main.path, ArraySpec((size,), chosen[0].main.spec.dtype))
                path = (*parent, f"{rest}_{word}".strip("_"))
                found.append(Unit(path, {"pack": place}, False, chosen[0].position, pieces=chosen))
    return found


def _without_role(text: str) -> str:
    """What else than its role the name of a query, key or value says: `self_attn` and the number of a block."""
    segment = read_segment(text)
    words = [
        token.word for token in segment.tokens if token.concept not in ROLES and token.concept != "projection"
    ]
    return "_".join([*words, *map(str, segment.numbers)])
