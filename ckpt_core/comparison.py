"""diff: what two checkpoints, in whatever containers, have in common and what not."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import is_complex
from ckpt_core.fitting.kinds import word_of
from ckpt_core.keypath import join_name
from ckpt_core.layouts.values import number
from ckpt_core.opening import open_checkpoint
from ckpt_core.rendering.html import folded_html, section_html, table_html
from ckpt_core.schema import Checkpoint
from ckpt_core.tree import Record, children, flatten, render_path, walk
from ckpt_core.writing import same_bytes

__all__ = ["Diff", "Difference", "Movement", "diff"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One leaf that differs: `kind` is only_a, only_b, shape, dtype or value; or an object: its `kind` is class."""

    path: str
    kind: str
    a: Any = None
    b: Any = None

    def __str__(self) -> str:
        if self.kind in ("only_a", "only_b"):
            return f"only in {'the first' if self.kind == 'only_a' else 'the second'} @ {self.path}"
        return f"{self.kind} {self.a} against {self.b} @ {self.path}"


@dataclass(frozen=True, slots=True)
class Movement:
    """How far one array moved from the first checkpoint to the second.

    Arguments:
        path: its name.
        relative: |b - a| / |a| in the 2-norm (infinite when a is zero and b is not).
        cosine: of the angle between them (NaN when one is zero).
        maximum: the largest absolute difference of an element.
    """

    path: str
    relative: float
    cosine: float
    maximum: float


@dataclass(frozen=True)
class Diff:
    """What two checkpoints have in common and what not.

    Arguments:
        same: the number of leaves that are equal, bit for bit.
        differences: one entry per leaf that is not.
        movements: for arrays of one shape, how far each moved, the farthest first; when asked for.
        by: how leaves were paired: "path" where the trees have the same paths, "meaning" where they do not, and
            "weights" where parameters and buffers alone were compared.
    """

    a: str
    b: str
    same: int
    differences: tuple[Difference, ...]
    movements: tuple[Movement, ...] = ()
    by: str = "path"

    @property
    def is_equal(self) -> bool:
        """Say whether nothing differs."""
        return not self.differences

    def _repr_html_(self) -> str:
        verdict = (
            f"equal: {self.same:,} leaves" if self.is_equal else f"{len(self.differences):,} leaves differ"
        )
        table = [(d.path or "(the whole)", d.kind, d.a, d.b) for d in self.differences]
        blocks = [table_html((), [("a", self.a), ("b", self.b), ("the same", f"{self.same:,} leaves")])]
        if table:
            blocks.append(folded_html("differences", table_html(("where", "what", "a", "b"), table)))
        if self.movements:
            moved = [(m.path, m.relative, m.cosine, m.maximum) for m in self.movements]
            blocks.append(
                folded_html("movements", table_html(("array", "relative", "cosine", "maximum"), moved))
            )
        return section_html(verdict, *blocks)


def diff(
    a: str | os.PathLike[str] | Checkpoint,
    b: str | os.PathLike[str] | Checkpoint,
    *,
    stats: bool = False,
    weights_only: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **opening: Any,
) -> Diff:
    """Compare two checkpoints leaf by leaf, bit by bit.

    Trees with the same paths are compared as they are; others by meaning (params, optimizer, step, config,
    ...), so that the same model in two frameworks' containers compares as equal. By meaning a metric is its value
    and a setting plain data; what only one framework keeps beside them (the `_metadata` of a state dict, the history
    behind a metric) is not compared. Where one of them was opened with `weights=`, that copy of the weights is
    compared, and nothing else.

    Arguments:
        a, b: paths or open Checkpoints.
        stats: also measure how far each array moved.
        weights_only: compare params and buffers alone.
        progress: called with (bytes done, bytes in all).
        opening: passed to `open_checkpoint` for paths.
    """
    with ExitStack() as stack:
        first, second = (
            side if isinstance(side, Checkpoint) else stack.enter_context(open_checkpoint(side, **opening))
            for side in (a, b)
        )
        ours, theirs, classes, by = _comparable(first, second, weights_only)
        report = _Reporter(ours, progress)
        differences = [
            Difference(path, "only_a", _shown(leaf)) for path, leaf in ours.items() if path not in theirs
        ]
        movements: list[Movement] = []
        for path in [path for path in ours if path in theirs]:
            found = _compare(path, ours[path], theirs[path])
            if found is not None:
                differences.append(found)
            if stats and _are_comparable(ours[path], theirs[path]):
                movements.append(_movement(path, ours[path], theirs[path], is_same=found is None))
            report(ours[path])
        differences += [
            Difference(path, "only_b", None, _shown(leaf))
            for path, leaf in theirs.items()
            if path not in ours
        ]
        movements.sort(key=lambda m: (-m.relative, m.path))
        same = len(ours) - sum(d.kind != "only_b" for d in differences)
        differences += classes
        return Diff(first.path, second.path, same, tuple(differences), tuple(movements), by)


class _Reporter:
    def __init__(self, leaves: dict[str, Any], progress: Callable[[int, int], None] | None) -> None:
        self.total = sum(leaf.nbytes for leaf in leaves.values() if isinstance(leaf, LazyArray))
        self.done = 0
        self.progress = progress

    def __call__(self, leaf: Any) -> None:
        if isinstance(leaf, LazyArray) and self.progress is not None:
            self.done += leaf.nbytes
            self.progress(self.done, self.total)


def _comparable(
    a: Checkpoint, b: Checkpoint, weights_only: bool
) -> tuple[dict[str, Any], dict[str, Any], list[Difference], str]:
    """Return the leaves to compare, by name, the objects in one place that are of different classes, and how."""
    if weights_only or a.is_chosen or b.is_chosen:
        return dict(_weights(a)), dict(_weights(b)), [], "weights"
    ours, theirs = _by_path(a.tree), _by_path(b.tree)
    if ours.keys() == theirs.keys():
        return ours, theirs, _other_classes(a.tree, b.tree), "path"
    return _apart(_by_meaning(a)), _apart(_by_meaning(b)), [], "meaning"


def _by_path(tree: Any) -> dict[str, Any]:
    return {render_path(path): leaf for path, leaf in flatten(tree)}


def _other_classes(a: Any, b: Any) -> list[Difference]:
    """The objects that have the same fields in both trees and are of different classes.

    A class is known by its own name: libraries move classes between their modules. What is a plain dict on one
    side was written by a container that knows no classes.
    """
    theirs = {path: node.type_name for path, node in walk(b) if isinstance(node, Record)}
    return [
        Difference(render_path(path), "class", node.type_name, theirs[path])
        for path, node in walk(a)
        if isinstance(node, Record)
        and path in theirs
        and _own_name(node.type_name) != _own_name(theirs[path])
    ]


def _own_name(type_name: str) -> str:
    return type_name.rpartition(".")[2]


def _apart(leaves: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Leaves by name, where one with a name that is taken gets a number."""
    found: dict[str, Any] = {}
    for name, leaf in leaves:
        unique, number = name, 1
        while unique in found:
            number += 1
            unique = f"{name} ({number})"
        found[unique] = leaf
    return found


def _weights(ckpt: Checkpoint) -> Iterator[tuple[str, Any]]:
    for section, tree in (("params", ckpt.params), ("buffers", ckpt.buffers)):
        for name, leaf in tree.leaves():
            yield f"{section}/{name}", leaf


def _by_meaning(ckpt: Checkpoint) -> Iterator[tuple[str, Any]]:
    yield from _weights(ckpt)
    for name, tree in ckpt.ema.items():
        yield from ((f"ema/{name}/{leaf_name}", leaf) for leaf_name, leaf in tree.leaves())
    for name, state in ckpt.opt_states.items():
        yield from _named("opt_state" if len(ckpt.opt_states) == 1 else f"opt_states/{name}", state.native)
    for section in ("step", "epoch", "timestamp"):
        if getattr(ckpt, section) is not None:
            yield section, getattr(ckpt, section)
    for section in ("metrics", "config", "schedulers", "rng"):
        if getattr(ckpt, section):  # one that is not there is no leaf
            yield from _named(section, getattr(ckpt, section))
    if ckpt.scaler is not None:
        yield from _named("scaler", ckpt.scaler)
    for path, node in ckpt.metadata.extra.items():
        yield from _named(path or "extra", node)


def _named(section: str, tree: Any) -> Iterator[tuple[str, Any]]:
    for path, leaf in flatten(tree):
        yield f"{section}/{join_name(tuple(map(word_of, path)))}" if path else section, leaf


def _compare(path: str, a: Any, b: Any) -> Difference | None:
    a, b = _settled(a, b), _settled(b, a)
    if isinstance(a, LazyArray) and isinstance(b, LazyArray):
        if a.shape != b.shape:
            return Difference(path, "shape", a.shape, b.shape)
        if a.dtype != b.dtype:
            return Difference(path, "dtype", a.dtype, b.dtype)
        return None if same_bytes(a, b) else Difference(path, "value", _shown(a), _shown(b))
    if _same_value(a, b):
        return None
    return Difference(path, "value", _shown(a), _shown(b))


def _settled(value: Any, other: Any) -> Any:
    """A 0-d array beside a plain number is compared as a number."""
    if isinstance(value, LazyArray) and value.shape == () and not isinstance(other, LazyArray):
        return number(value)
    return number(value) if isinstance(value, np.generic) else value


def _same_value(a: Any, b: Any) -> bool:
    if children(a) is not None or children(b) is not None:
        return type(a) is type(b) or (children(a) == [] and children(b) == [])
    if isinstance(a, LazyArray) or isinstance(b, LazyArray):
        return False
    if isinstance(a, complex) and isinstance(b, complex):
        return _same_value(a.real, b.real) and _same_value(a.imag, b.imag)
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    kinds = [(isinstance(value, bool), isinstance(value, float)) for value in (a, b)]
    return bool(a == b) and kinds[0] == kinds[1]


def _shown(leaf: Any) -> Any:
    return f"{leaf.dtype}{list(leaf.shape)}" if isinstance(leaf, LazyArray) else leaf


def _are_comparable(a: Any, b: Any) -> bool:
    return isinstance(a, LazyArray) and isinstance(b, LazyArray) and a.shape == b.shape and a.size > 0


def _movement(path: str, a: LazyArray, b: LazyArray, is_same: bool) -> Movement:
    moved = norm_a = norm_b = dot = maximum = 0.0
    for x, y in zip(_numbers(a), _numbers(b), strict=True):
        with np.errstate(all="ignore"):
            change = np.abs(y - x)
            norm_a += float(np.vdot(x, x).real)
            norm_b += float(np.vdot(y, y).real)
            dot += float(np.vdot(x, y).real)
            moved += float(np.vdot(change, change).real)
            maximum = max(maximum, float(change.max())) if not math.isnan(maximum) else maximum
            if np.isnan(change).any():
                maximum = math.nan
    if is_same and not math.isnan(maximum):
        moved = maximum = 0.0
    relative = math.sqrt(moved / norm_a) if norm_a else (math.inf if moved else 0.0)
    cosine = dot / math.sqrt(norm_a * norm_b) if norm_a and norm_b else math.nan
    return Movement(path, relative, cosine, maximum)


def _numbers(array: LazyArray, block: int = 1 << 20) -> Iterator[np.ndarray]:
    wide = np.complex128 if is_complex(array.dtype) else np.float64
    for start in range(0, array.size, block):
        yield array.elements(start, min(start + block, array.size)).astype(wide)
