"""Less than everything: which part of a checkpoint a conversion writes, and what it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ckpt_core.aliases import resolved, spelled_out
from ckpt_core.arrays import LazyArray
from ckpt_core.casting import cast, dtype_named
from ckpt_core.errors import UsageError
from ckpt_core.fitting.ledger import Remark
from ckpt_core.layouts.base import RAW, Layout, Leaves, Parts, node_at
from ckpt_core.layouts.values import is_module, is_tensor
from ckpt_core.opening import layout_named, layouts
from ckpt_core.patterns import compiled
from ckpt_core.schema import Checkpoint
from ckpt_core.tree import (
    Alias,
    KeyPath,
    Part,
    children,
    flatten,
    get,
    map_with_path,
    rebuild,
    render_path,
    substitute,
    unflatten,
)
from ckpt_core.view import Weights, nest

__all__ = ["Selection", "matches", "selected"]

_ONLY: Final = ("params", "buffers", "weights", "ema")


@dataclass(frozen=True, slots=True)
class Selection:
    """What a conversion was asked to write; see `convert` for the meaning of each."""

    only: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    strip_prefix: str | None = None
    cast: str | None = None
    layout: str | None = None
    unreplicate: bool = False


def selected(ckpt: Checkpoint, asked: Selection) -> tuple[Any, tuple[Remark, ...]]:
    """Return the tree to write, and what was left behind by request.

    Raises:
        UsageError: a part or pattern matches nothing, or a request contradicts another.
    """
    left: list[Remark] = []
    for name in ("strip_prefix", "cast", "layout"):
        if getattr(asked, name) == "":
            raise UsageError(f"{name}= is empty", remedy="Leave it out, or is a variable not set?")
    if asked.unreplicate:
        ckpt = ckpt.unreplicated()
    if asked.cast:
        ckpt = ckpt.with_tree(_cast_weights(ckpt, dtype_named(asked.cast)))
    if asked.strip_prefix or asked.layout or asked.select:  # what is shared may lose its first place
        ckpt = ckpt.with_tree(spelled_out(ckpt.tree, ckpt.tree))
    if asked.strip_prefix:
        ckpt = ckpt.with_tree(_stripped(ckpt, asked.strip_prefix))
    tree = ckpt.tree
    if asked.layout:
        if asked.only:
            raise UsageError("only= and layout= exclude each other")
        tree, missing = _written_layout(asked.layout).build(parts_of(ckpt))
        left += [Remark(name, f"the layout {asked.layout} has no place for it") for name in missing]
    elif asked.only:
        tree = _only(ckpt, asked.only)
        left += _left_out(ckpt, tree)
    if asked.select:
        tree = _matching(tree, asked.select, left)
    return _without_loose_ends(tree, left), tuple(left)


def _without_loose_ends(tree: Any, left: list[Remark]) -> Any:
    """The tree without references to containers around them that were left or moved."""

    def leaf(path: KeyPath, value: Any) -> Any:
        if not isinstance(value, Alias) or resolved(tree, value) is not value:
            return value
        left.append(Remark(render_path(path), f"a reference to {render_path(value.path) or 'the top'}"))
        return None

    return map_with_path(leaf, tree)


# Parts.


def _written_layout(name: str) -> Layout:
    """Return the layout of that name; raises UsageError with the list of those that are written."""
    row = layout_named(name)
    if type(row).build is not Layout.build:
        return row
    written = [other.name for other in layouts() if type(other).build is not Layout.build]
    raise UsageError(f"the layout {name} is only read", remedy=f"To write: {', '.join(written)}.")


def _only(ckpt: Checkpoint, names: tuple[str, ...]) -> Any:
    copies = ckpt.named_copies
    unknown = [name for name in names if name not in _ONLY and name not in copies]
    if unknown:
        known = dict.fromkeys([*_ONLY, *copies])
        raise UsageError(f"only= takes {', '.join(known)}, not {unknown[0]!r}")
    trees: dict[str, Any] = {}
    kinds = [kind for kind in ("params", "buffers") if kind in names or "weights" in names]
    if kinds:
        wanted = [entry for entry in ckpt.named_weights if ("buffers" if entry[2] else "params") in kinds]
        trees["params"] = _in_style(ckpt, wanted)
    averaged = {name: copy for name, copy in copies.items() if name != RAW}
    if "ema" in names and not averaged and ckpt.weights != RAW:
        averaged = {ckpt.weights: ckpt.named_weights}
    for name, copy in {**copies, **averaged}.items():
        if name in names or ("ema" in names and name in averaged):
            trees[name] = _in_style(ckpt, copy)
    trees = {name: tree for name, tree in trees.items() if tree}
    if not trees:
        raise UsageError(f"there are no {' or '.join(names)} in it", path=ckpt.path or None)
    return next(iter(trees.values())) if len(trees) == 1 else trees


def _in_style(ckpt: Checkpoint, weights: Weights) -> Any:
    """The weights under the model's own names: flat and dotted for torch, nested otherwise."""
    pairs = [(segments, array) for segments, array, _ in weights]
    places = ckpt.roles.params
    if len(places) == 1 and isinstance(places[0], Leaves) and places[0].within is not None:
        return _below_its_keys(places[0], dict(pairs))
    nodes = [get(ckpt.tree, place) for place in places if not isinstance(place, Leaves)]
    nodes = [node for node in nodes if isinstance(node, dict)]
    if nodes and all(is_module(node) or _is_flat(node) for node in nodes):
        separator = "/" if any("/" in str(key) for node in nodes for key in node) else "."
        return {separator.join(segments): array for segments, array in pairs}
    return _plain_dicts(nest(pairs))


def _below_its_keys(place: Leaves, arrays: Mapping[tuple[str, ...], LazyArray]) -> Any:
    depth = len(place.within or ())
    return unflatten((path[depth:], arrays[name]) for name, path in place.paths.items() if name in arrays)


def _is_flat(node: Any) -> bool:
    """Say whether it is one level of leaves and tensors; what an OrderedDict carries beside its entries is no level."""
    return all(
        isinstance(key, Part) or children(child) is None or is_tensor(child)
        for key, child in children(node) or []
    )


def _plain_dicts(tree: Any) -> Any:
    return {key: _plain_dicts(child) for key, child in tree.items()} if isinstance(tree, dict) else tree


def _left_out(ckpt: Checkpoint, tree: Any) -> list[Remark]:
    kept = {id(leaf) for _, leaf in flatten(tree)}
    return [
        Remark(render_path(path), "left behind")
        for path, leaf in flatten(ckpt.tree)
        if not (isinstance(leaf, LazyArray) and id(leaf) in kept)
    ]


def parts_of(ckpt: Checkpoint) -> Parts:
    """Return the parts of a checkpoint as a layout writes them."""
    return Parts(
        params=_plain_dicts(ckpt.params) or None,
        buffers=_plain_dicts(ckpt.buffers) or None,
        ema={name: _plain_dicts(tree) for name, tree in ckpt.ema.items()},
        opt_states={name: node_at(ckpt.tree, place) for name, place in ckpt.roles.opt_states.items()},
        schedulers=ckpt.schedulers,
        scaler=ckpt.scaler,
        rng=ckpt.rng,
        step=ckpt.step,
        epoch=ckpt.epoch,
        timestamp=ckpt.timestamp,
        metrics=ckpt.metrics,
        config=ckpt.config or None,
        extra=ckpt.metadata.extra,
    )


# Patterns.


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Say whether a name fits one of the patterns: `*` within a segment, `**` across segments.

    Names and patterns may be joined by `/` or by `.`.
    """
    slashed = name.replace(".", "/")
    return any(
        compiled(pattern).fullmatch(slashed) or compiled(pattern).fullmatch(name) for pattern in patterns
    )


def _matching(tree: Any, patterns: tuple[str, ...], left: list[Remark]) -> Any:
    leaves = flatten(tree)
    kept = {path for path, _ in leaves if matches(render_path(path), patterns)}
    for pattern in patterns:
        if not any(matches(render_path(path), (pattern,)) for path in kept):
            raise UsageError(f"the pattern {pattern!r} matches nothing", remedy=_examples(leaves))
    left += [Remark(render_path(path), "not selected") for path, _ in leaves if path not in kept]
    return _pruned(tree, kept)


def _examples(leaves: list[tuple[KeyPath, Any]]) -> str:
    return "There is, for example: " + ", ".join(render_path(path) for path, _ in leaves[:5])


def _pruned(tree: Any, kept: set[KeyPath]) -> Any:
    """The tree with only the leaves in `kept`; a list that loses elements becomes a dict by position."""
    needed = {path[:depth] for path in kept for depth in range(len(path) + 1)}

    def prune(path: KeyPath, node: Any) -> Any:
        pairs = children(node)
        if not pairs:
            return node
        remaining = [(key, prune((*path, key), child)) for key, child in pairs if (*path, key) in needed]
        if len(remaining) == len(pairs) or isinstance(node, dict):
            return rebuild(node, remaining)
        return {str(int(key)): child for key, child in remaining}

    return prune((), tree)


# Changes to the weights.


def _weight_ids(ckpt: Checkpoint) -> set[int]:
    return {id(array) for copy in (ckpt.named_weights, *ckpt.named_copies.values()) for _, array, _ in copy}


def _cast_weights(ckpt: Checkpoint, dtype: str) -> Any:
    ids = _weight_ids(ckpt)
    made: dict[int, LazyArray] = {}

    def leaf(_: KeyPath, value: Any) -> Any:
        if id(value) not in ids:
            return value
        if id(value) not in made:
            made[id(value)] = cast(value, dtype)
        return made[id(value)]

    return map_with_path(leaf, ckpt.tree)


def _stripped(ckpt: Checkpoint, prefix: str) -> Any:
    """Remove a prefix from the names of the weights, wherever they stand in the tree."""
    prefix = prefix.rstrip("./")
    tree = ckpt.tree
    changed = 0
    for path in (*ckpt.roles.params, *ckpt.roles.buffers, *ckpt.roles.ema.values()):
        if isinstance(path, Leaves):
            raise UsageError("the weights are single entries of a larger table, whose names stay as they are")
        node = get(tree, path)
        if not isinstance(node, dict):
            continue
        renamed: list[tuple[Any, Any]] = []
        for key, child in children(node) or []:
            if key == prefix and isinstance(child, dict):
                renamed += children(child) or []
                changed += 1
            elif isinstance(key, str) and key.startswith((prefix + ".", prefix + "/")):
                renamed.append((key[len(prefix) + 1 :], child))
                changed += 1
            else:
                renamed.append((key, child))
        names = [key for key, _ in renamed]
        if len(set(names)) != len(names):
            raise UsageError(f"without the prefix {prefix!r} two names are the same")
        tree = substitute(tree, path, rebuild(node, renamed)) if path else rebuild(node, renamed)
    if not changed:
        raise UsageError(f"no name of a weight begins with {prefix!r}", path=ckpt.path or None)
    return tree
