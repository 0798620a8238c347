"""Compounds: several arrays that belong together on one side, and are cut up in another way on the other.

Recurrent layers and packed attention, as the table of layers has them; and queries, keys and values of one parent,
which are one packed matrix elsewhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Final

from ckpt_core.arrays import ArraySpec
from ckpt_core.framework import Slot
from ckpt_core.layers import Layer
from ckpt_core.transfer.layers import known_layers
from ckpt_core.transfer.matching.units import Unit, core_of
from ckpt_core.transfer.matching.words import read_segment

__all__ = ["ROLES", "cut_rows", "layers_in", "packs_in"]

_DEEPEST: Final = 3
_ENDING: Final = re.compile(r"(.+?)(_l\d+(?:_reverse)?)?\Z")
_LEVEL: Final = re.compile(r"_l(\d+)(_reverse)?")

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
        path = core_of(slot.path)
        for depth in range(1, min(_DEEPEST, len(path)) + 1):
            below.setdefault(path[:-depth], {})["/".join(path[-depth:])] = slot
            position.setdefault(path[:-depth], place)
    rows = cut_rows()
    find = _torch_layers if style == "torch" else _flax_layers
    found = {path: find(names, rows) for path, names in below.items()}
    return [
        _unit(path, ending, members, position[path], any(e.endswith("_reverse") for e, _ in layers))
        for path, layers in found.items()
        for ending, members in layers
    ]


def _torch_layers(names: Mapping[str, Slot], rows: list[Layer]) -> list[tuple[str, dict[str, Slot]]]:
    """The layers at one place: several where torch numbers their levels and directions."""
    groups: dict[str, dict[str, Slot]] = {}
    for name, slot in names.items():
        match = _ENDING.match(name)
        assert match is not None
        groups.setdefault(match[2] or "", {})[match[1].replace("/", ".")] = slot
    found = []
    for ending, members in groups.items():
        for row in rows:
            known = {name for line in row.lines for name in line.source}
            ours = {name: slot for name, slot in members.items() if name in known}
            if all(name in ours for name in row.lines[0].source) and len(ours) > 1:
                found.append((ending, ours))
                break
    return found


def _flax_layers(names: Mapping[str, Slot], rows: list[Layer]) -> list[tuple[str, dict[str, Slot]]]:
    best: dict[str, Slot] = {}
    for row in rows:
        known = {name.replace("\\/", "/") for line in row.lines for name in line.target}
        needed = {name.replace("\\/", "/") for name in row.lines[0].target}
        if needed <= names.keys():
            ours = {name: slot for name, slot in names.items() if name in known}
            best = max(best, ours, key=len)
    return [("", best)] if best else []


def _unit(path: Path, ending: str, members: dict[str, Slot], position: int, two_ways: bool) -> Unit:
    """One unit; its size is that of the matrices alone, since torch has more biases."""
    size = sum(math.prod(slot.spec.shape) for name, slot in members.items() if "bias" not in name)
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
            if all(role in pieces for role in wanted) and len({tuple(pieces[r].parts) for r in wanted}) == 1:
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
