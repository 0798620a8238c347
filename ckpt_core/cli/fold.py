"""Folding: names that differ in a number alone share one line, `h.{0..23}`.

`tree_rows` folds a tree of leaves where siblings have the same structure all the way down; for a flat list of
names see `ckpt_core.rendering.folding`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ckpt_core.rendering.folding import number_ranges
from ckpt_core.rendering.text import arrays_text, clean, count_text, size_text

__all__ = ["Branch", "Folded", "branch_of", "tree_rows"]

_LAST_NUMBER: Final = re.compile(r"(.*?)([0-9]{1,9})([^0-9]*)\Z", re.DOTALL)
_LONGEST: Final = 200


# A tree of leaves.


@dataclass(slots=True)
class Branch:
    """One level of names: its children are Branches, or the JSON rows of leaves."""

    children: dict[str, Any] = field(default_factory=dict)
    arrays: int = 0
    elements: int = 0
    nbytes: int = 0
    signature: int = -1


class Folded(NamedTuple):
    """Siblings on one line: the shown name, the first of them, and how many there are."""

    name: str
    first: Any
    times: int


_SEPARATOR: Final = re.compile(r"(?<!\\)/")


def branch_of(leaves: Iterable[dict[str, Any]]) -> Branch:
    """Nest leaves by their paths, and give equal structures equal signatures."""
    root = Branch()
    for leaf in leaves:
        segments = _SEPARATOR.split(leaf["path"])
        node = root
        for depth, key in enumerate(segments[:-1]):
            child = node.children.get(key)
            if child is None:
                child = node.children[key] = Branch()
            if not isinstance(child, Branch):  # a leaf has that name already; the rest stays in one piece
                segments = ["/".join(segments[depth:])]
                break
            node = child
        last = segments[-1]
        while last in node.children:
            last += "'"
        node.children[last] = leaf
    _sign(root)
    return root


def _sign(root: Branch) -> None:
    """Number the structures from the leaves up: same names, shapes and dtypes, same number."""
    order: list[Branch] = [root]
    for node in order:
        order.extend(child for child in node.children.values() if isinstance(child, Branch))
    known: dict[Hashable, int] = {}
    for node in reversed(order):
        shape: list[tuple[str, Hashable]] = []
        for name, child in node.children.items():
            if isinstance(child, Branch):
                shape.append((name, child.signature))
                node.arrays += child.arrays
                node.elements += child.elements
                node.nbytes += child.nbytes
            else:
                shape.append((name, _leaf_signature(child)))
                node.arrays += 1
                node.elements += math.prod(child["shape"])
                node.nbytes += child["nbytes"]
        node.signature = known.setdefault(tuple(shape), len(known))


def _leaf_signature(leaf: dict[str, Any]) -> Hashable:
    return leaf["dtype"], *leaf["shape"]


def _folded(node: Branch) -> list[Folded]:
    """The children of a branch, those that differ in a number alone as one, in the place of the first."""
    if len(node.children) == 1:
        ((name, child),) = node.children.items()
        return [Folded(clean(name) or "''", child, 1)]
    buckets: dict[Hashable, list[tuple[str, str, str, str]]] = {}
    for name, child in node.children.items():
        match = _LAST_NUMBER.match(name) if len(name) <= _LONGEST else None
        before, number, after = match.groups() if match else (name, "", "")
        signature = child.signature if isinstance(child, Branch) else _leaf_signature(child)
        buckets.setdefault((before, bool(number), after, signature), []).append((name, before, number, after))
    found = []
    for members in buckets.values():
        name, before, _, after = members[0]
        shown = clean(name) or "''"
        if len(members) > 1:
            shown = f"{clean(before)}{number_ranges(member[2] for member in members)}{clean(after)}"
        found.append(Folded(shown, node.children[name], len(members)))
    return found


def tree_rows(root: Branch, depth: int | None = None) -> list[tuple[str, str, str, str]]:
    """Return the rows of a tree: indented name, shape, dtype or what is below, size.

    Arguments:
        root: from `branch_of`.
        depth: levels to show; what lies deeper is summed up.
    """
    rows: list[tuple[str, str, str, str]] = []
    stack: list[tuple[int, Folded]] = [(0, item) for item in reversed(_folded(root))]
    while stack:
        level, item = stack.pop()
        name, first, times = item
        while isinstance(first, Branch) and depth is None:
            inner = _folded(first)
            if len(inner) > 1:
                break
            name, first, times = f"{name}.{inner[0].name}", inner[0].first, times * inner[0].times
        label = "  " * level + clean(name, 160)
        if isinstance(first, Branch):
            below = f"{arrays_text(first.arrays * times)}, {count_text(first.elements * times)} elements"
            rows.append((label, f"x {times:,}" if times > 1 else "", below, size_text(first.nbytes * times)))
            if depth is None or level + 1 < depth:
                stack.extend((level + 1, child) for child in reversed(_folded(first)))
        else:
            repeated = f"  x {times:,}" if times > 1 else ""
            rows.append(
                (
                    label,
                    str(list(first["shape"])),
                    first["dtype"] + repeated,
                    size_text(first["nbytes"] * times),
                )
            )
    return rows
