"""The neutral view: weights nested by module path, the same way whichever framework wrote them.

The names stay the framework's own. A flat `encoder.conv1.weight` and a nested `encoder/conv1/weight` read
alike; torch's buffers are told from parameters by the module that holds them, or by their well-known names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, TypeAlias

from ckpt_core.aliases import MAX_UNFOLDED, resolved
from ckpt_core.arrays import LazyArray
from ckpt_core.collector import paused_collector
from ckpt_core.errors import LimitError
from ckpt_core.layouts.base import Leaves, Place
from ckpt_core.layouts.values import array_of, is_module
from ckpt_core.tree import MAX_DEPTH, Alias, Index, KeyPath, Part, Record, children, get, lookup, walk

__all__ = ["LEAF_SEGMENTS", "Nested", "Weights", "named_weights", "nest"]

BUFFERS: Final = frozenset({"running_mean", "running_var", "num_batches_tracked"})
"""The last parts of names that are buffers wherever a file does not say more."""

_Trail: TypeAlias = "tuple[Any, _Trail] | None"
"""The containers around a node, from the inside out."""

_STATISTICS: Final = frozenset({"mean", "var"})
_AFFINE: Final = frozenset({"scale", "bias"})
_STREAM: Final = frozenset({"count", "key"})
"""Names of arrays that one module of Flax has beside each other (`flax/nnx/nn/normalization.py`, `nnx/rnglib.py`)."""

LEAF_SEGMENTS: Final = frozenset({"value", "_raw_value", "raw_value"})
"""A last segment that only wraps the array (NNX states, and those that were pickled)."""

Weights = list[tuple[tuple[str, ...], LazyArray, bool]]
"""(segments of the name, array, is it a buffer)"""


class Nested(dict[str, Any]):
    """Nested dicts of arrays, in which `tree["a"]["b"]` and `tree["a/b"]` are the same.

    Example:
        >>> Nested({"encoder": Nested({"weight": 1})})["encoder/weight"]
        1
    """

    def __missing__(self, key: object) -> Any:
        text = key if isinstance(key, str) else ""
        if "/" in text:
            try:
                return lookup(self, text)
            except KeyError:
                pass
        nested = text.replace(".", "/")
        meant = f"did you mean {nested}? " if "." in text and nested in self else ""
        raise KeyError(f"{key} ({meant}there is: {', '.join(list(self)[:8])})")

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or self.get(key, self) is not self

    def get(self, key: Any, default: Any = None) -> Any:
        """Return what is there under a name, or under names joined by `/`, or else the default."""
        try:
            return self[key]
        except KeyError:
            return default

    def leaves(self) -> list[tuple[str, LazyArray]]:
        """Return (name, array) pairs, names joined by `/`, in order."""
        found: list[tuple[str, LazyArray]] = []
        stack: list[tuple[str, Any]] = [("", self)]
        while stack:
            name, node = stack.pop()
            if isinstance(node, dict):
                prefix = f"{name}/" if name else ""
                stack.extend(
                    [(prefix + key.replace("/", "\\/"), child) for key, child in reversed(node.items())]
                )
            else:
                found.append((name, node))
        return found

    def load(self) -> dict[str, Any]:
        """Return plain nested dicts of numpy arrays, all read."""
        return {
            key: child.load() if isinstance(child, Nested) else child.read() for key, child in self.items()
        }


@paused_collector()
def nest(pairs: Iterable[tuple[tuple[str, ...], LazyArray]]) -> Nested:
    """Nest (segments, array) pairs; where one name is the beginning of another, the rest stays dotted."""
    root = Nested()
    for segments, array in pairs:
        node = root
        for depth, key in enumerate(segments[:-1]):
            child = dict.get(node, key)
            if child is None:
                child = node[key] = Nested()
            if not isinstance(child, Nested):
                node[".".join(segments[depth:])] = array
                break
            node = child
        else:
            key = segments[-1] if segments else ""
            while dict.__contains__(node, key):
                key += "'"
            node[key] = array
    return root


@paused_collector()
def named_weights(
    tree: Any,
    places: Iterable[Place],
    is_buffer: bool | None = None,
    without: Collection[KeyPath] = (),
) -> Weights:
    """Collect the arrays at some places, named by module path.

    Arguments:
        tree: the whole tree.
        places: the subtrees, or leaves with their names; of several subtrees, a key that tells each one from the
            others begins the names.
        is_buffer: what all of them are, or None to tell by module and name.
        without: paths of leaves that another role has.
    """
    places = list(places)
    subtrees = [place for place in places if not isinstance(place, Leaves)]
    depth = _telling_depth(subtrees)
    weights: Weights = []
    for place in places:
        if isinstance(place, Leaves):
            weights += _leaves(tree, place, bool(is_buffer))
            continue
        node = resolved(tree, get(tree, place))
        if is_module(node):
            found = _module_weights(tree, node, _trail(tree, place))
        else:
            found = _tree_weights(tree, node, _trail(tree, place), _names_below(place, without))
        prefix = (_segment(place[depth]),) if len(subtrees) > 1 and place else ()
        for segments, array, buffer in found:
            weights.append(((*prefix, *segments), array, buffer if is_buffer is None else is_buffer))
    bare = _unwrapped(weights)
    return _with_flax_buffers(bare, is_nnx=bare is not weights) if is_buffer is None else bare


def _telling_depth(paths: list[KeyPath]) -> int:
    """The first position in several paths at which no two have the same key."""
    for depth in range(min(map(len, paths), default=0)):
        if len({path[depth] for path in paths}) == len(paths):
            return depth
    return -1


def _leaves(tree: Any, place: Leaves, is_buffer: bool) -> Weights:
    found: Weights = []
    for segments, path in place.paths.items():
        array = array_of(resolved(tree, get(tree, path)))
        if array is not None:
            found.append((segments, array, is_buffer or segments[-1] in BUFFERS))
    return found


def _names_below(place: KeyPath, paths: Collection[KeyPath]) -> frozenset[tuple[str, ...]]:
    depth = len(place)
    return frozenset(tuple(map(_segment, path[depth:])) for path in paths if path[:depth] == place)


def _module_weights(tree: Any, module: Record, above: _Trail) -> Weights:
    """The parameters and buffers of a pickled torch module, as its state dict names and orders them.

    A submodule or parameter that stands in two places has two names; buffers that the module marks as not
    persistent are no part of its state.
    """
    found: Weights = []
    stack: list[tuple[tuple[str, ...], Any, _Trail, bool]] = [((), module, above, False)]
    unfolded = 0
    while stack:
        prefix, node, trail, is_shared = stack.pop()
        if isinstance(node, Alias):
            node, is_shared = resolved(tree, node), True
        if not is_module(node) or _is_above(trail, node):
            continue
        unfolded += is_shared
        if unfolded > MAX_UNFOLDED or len(prefix) > 2 * MAX_DEPTH:
            raise LimitError("shared modules unfold without end", place="/".join(prefix[:4]))
        transient = node.get("_non_persistent_buffers_set")
        if not isinstance(transient, (set, frozenset)):
            transient = ()
        for group, is_buffer in (("_parameters", False), ("_buffers", True)):
            for key, value in _table_of(tree, node, group).items():
                array = array_of(resolved(tree, value))
                if array is not None and not (is_buffer and key in transient):
                    found.append(((*prefix, str(key)), array, is_buffer))
        below = (node, trail)
        modules = list(_table_of(tree, node, "_modules").items())
        is_shared = is_shared or isinstance(node["_modules"], Alias)
        stack.extend([((*prefix, str(key)), child, below, is_shared) for key, child in reversed(modules)])
    return found


def _table_of(tree: Any, module: Record, name: str) -> Mapping[Any, Any]:
    """A table that a module keeps of its parameters, buffers or submodules."""
    table = resolved(tree, module.get(name))
    return table if isinstance(table, Mapping) else {}


def _tree_weights(
    tree: Any, node: Any, above: _Trail, without: frozenset[tuple[str, ...]] = frozenset()
) -> Weights:
    """The arrays of a mapping: a flat one's names are split at dots (or slashes), a nested one's are its keys."""
    if isinstance(node, Mapping):
        inner = node.get("params")
        if isinstance(inner, Mapping) and len(node) == 1:
            node = inner
            without = frozenset(name[1:] for name in without)
    flat_separator = "."
    if isinstance(node, Mapping) and all(array_of(value) is not None for value in node.values()):
        flat_separator = "/" if any("/" in str(key) for key in node) else "."
    found: Weights = []
    stack: list[tuple[tuple[str, ...], Any, _Trail, bool]] = [((), node, above, False)]
    unfolded = 0
    fertile: set[int] | None = None
    while stack:
        prefix, item, trail, is_shared = stack.pop()
        if prefix in without:
            continue
        unfolded += is_shared
        if unfolded > MAX_UNFOLDED or len(prefix) > 2 * MAX_DEPTH:
            raise LimitError("shared containers unfold without end", place="/".join(prefix[:4]))
        array = array_of(item)
        if array is not None:
            segments = (*prefix[:-1], *prefix[-1].split(flat_separator)) if prefix else ("array",)
            if "" in segments or len(segments) > MAX_DEPTH:
                segments = prefix
            found.append((segments, array, segments[-1] in BUFFERS))
            continue
        if isinstance(item, Alias):
            item = resolved(tree, item)
            fertile = _leading_to_arrays(tree) if fertile is None else fertile
            if _is_above(trail, item):  # a container that holds itself has no weights of its own in there
                continue
            is_shared = True
        if is_shared and fertile is not None and id(item) not in fertile:
            continue
        pairs = children(item)
        # a pickled random key, named as Orbax names it
        if isinstance(item, Record) and "_base_array" in item:
            pairs = [("data", item["_base_array"])]
        if pairs:
            below = (item, trail)
            stack.extend(
                [((*prefix, _segment(key)), child, below, is_shared) for key, child in reversed(pairs)]
            )
    return found


def _is_above(trail: _Trail, node: Any) -> bool:
    while trail is not None:
        container, trail = trail
        if container is node:
            return True
    return False


def _leading_to_arrays(tree: Any) -> set[int]:
    """The ids of the containers with an array somewhere below, also where only an alias leads to it."""
    holders: dict[int, list[Any]] = {}
    below: list[Any] = []
    for _, node in walk(tree):
        for _, child in children(node) or ():
            inner = resolved(tree, child)
            if array_of(inner) is not None:
                below.append(node)
            elif isinstance(inner, (dict, list, tuple)):
                holders.setdefault(id(inner), []).append(node)
    found: set[int] = set()
    while below:
        node = below.pop()
        if id(node) not in found:
            found.add(id(node))
            below.extend(holders.get(id(node), ()))
    return found


def _trail(tree: Any, path: KeyPath) -> _Trail:
    """The containers from the top down to a path, the one at the path left out."""
    trail: _Trail = None
    for depth in range(len(path)):
        trail = (get(tree, path[:depth]), trail)
    return trail


def _segment(key: Any) -> str:
    if isinstance(key, Part):
        return key.name
    return str(int(key)) if isinstance(key, Index) else str(key)


def _unwrapped(weights: Weights) -> Weights:
    """Drop a segment that every name ends with and that only wraps the array (or the words of a random key)."""
    places = [_wrapper_at(segments) for segments, _, _ in weights]
    if not any(place == -1 for place in places) or 0 in places:
        return weights
    return [
        (tuple(part for i, part in enumerate(segments, -len(segments)) if i != place), array, buffer)
        for (segments, array, buffer), place in zip(weights, places, strict=True)
    ]


def _wrapper_at(segments: tuple[str, ...]) -> int:
    """The place, from the end, of the segment that only wraps an array; 0 where there is none."""
    if len(segments) > 1 and segments[-1] in LEAF_SEGMENTS:
        return -1
    return -2 if len(segments) > 2 and segments[-1] == "data" and segments[-2] in LEAF_SEGMENTS else 0


def _with_flax_buffers(weights: Weights, is_nnx: bool) -> Weights:
    """Mark what Flax's own modules keep beside their parameters, in files that name no collections or types.

    A normalisation's running mean and variance are told by standing beside a scale or a bias of their shape (in a
    file that is NNX's for sure, also alone); the count and the key of a random stream by standing beside one another.
    """
    if not any(segments[-1] in ("var", "count") for segments, _, _ in weights):
        return weights
    modules: dict[tuple[str, ...], dict[str, LazyArray]] = {}
    for segments, array, _ in weights:
        is_key = segments[-1] == "data" and segments[-2:-1] == ("key",)
        *above, last = segments[:-1] if is_key else segments
        modules.setdefault(tuple(above), {})[last] = array
    buffers = {(*path, name) for path, arrays in modules.items() for name in _flax_buffers(arrays, is_nnx)}
    return [
        (segments, array, is_buffer or segments in buffers or segments[:-1] in buffers)
        for segments, array, is_buffer in weights
    ]


def _flax_buffers(arrays: Mapping[str, LazyArray], is_nnx: bool) -> Collection[str]:
    """Which of the arrays that stand beside each other are no parameters."""
    names = arrays.keys()
    if names == _STREAM and all(array.dtype == "uint32" for array in arrays.values()):
        return _STREAM
    is_normalisation = names >= _STATISTICS and names <= _STATISTICS | _AFFINE
    is_told = is_nnx or len(names) > len(_STATISTICS)
    is_one_size = len({array.shape for array in arrays.values()}) == 1
    return _STATISTICS if is_normalisation and is_told and is_one_size else ()
