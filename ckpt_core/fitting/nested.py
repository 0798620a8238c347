"""Fit a tree to a container that nests, with native values in the place of what it does not know."""

from __future__ import annotations

import functools
from typing import Any, Final, NamedTuple

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.fitting.construction import OMITTED, StateOf, UnfinishedTuple, close_tuples
from ckpt_core.fitting.kinds import (
    SURROGATES,
    describe,
    describe_key,
    kind_name,
    kind_of,
    kind_of_key,
    word_of,
)
from ckpt_core.fitting.ledger import BARE, Ledger
from ckpt_core.fitting.pointers import TextNames
from ckpt_core.tree import (
    Alias,
    Global,
    Index,
    Key,
    KeyPath,
    Part,
    Record,
    children,
    flatten,
    get,
    render_key,
    render_path,
    walk,
)

__all__ = ["fit_nested"]

_COPIES: Final = 10_000
"""So many entries of shared containers are written a second time where the target does not share."""

_DEEPEST: Final = 400
"""The level that such copies may reach."""


class _Copy(NamedTuple):
    """A shared container that is being written a second time: at `place`, from `origin`, within another one."""

    place: KeyPath
    origin: KeyPath
    outer: _Copy | None


def fit_nested(tree: Any, ledger: Ledger) -> Any:
    """Return a tree of what the container holds, the nearest value standing for what it does not."""
    nesting = _Nesting(tree, ledger)
    if isinstance(tree, dict):
        holder: dict[Any, Any] = {}
        nesting.fill([((), tree, holder, 0, (), None)])
        fitted = holder[0]
    else:
        ledger.carry((), f"a {kind_name(tree)} at the top, written under {BARE!r}")
        fitted = {}
        nesting.fill([((), tree, fitted, BARE, (BARE,), None)])
    return close_tuples(fitted) if "tuple" in ledger.holds.containers else fitted


class _Nesting:
    def __init__(self, tree: Any, ledger: Ledger) -> None:
        self.tree = tree
        self.ledger = ledger
        self.holds = ledger.holds
        self.budget = _COPIES
        self.in_copy = False
        self.joined: set[str] = set()
        self.texts = TextNames()
        self.built: dict[KeyPath, Any] = {}

    def fill(self, stack: list[Any]) -> None:
        """Build the fitted containers top-down, so that the new path of each leaf is known."""
        while stack:
            path, node, into, key, target, copy = stack.pop()
            self.in_copy = copy is not None
            if isinstance(node, Alias):
                if self._is_shared(node, path, copy):
                    into[key] = self.built[node.path]
                    continue
                node, copy = self._alias(path, node, copy)
            is_copy = copy is not None
            if node is OMITTED or (is_copy and len(path) > _DEEPEST):
                continue
            pairs = children(node)
            if pairs is None:
                place = self._free_name(path, node, into, key, target)
                if place is None:
                    value = self._left_out(path, node)
                else:
                    key, target = place
                    value = self._leaf(path, target, node, is_copy)
                if value is not OMITTED:
                    into[key] = value
                elif isinstance(into, list):
                    into[key] = None if "None" in self.holds.values else ""
                else:
                    into.pop(key, None)
                continue
            if is_copy:
                self.budget -= len(pairs)
            into[key] = container = self._container(path, node, len(pairs))
            if not is_copy:
                self.built[path] = container
            queued = []
            if isinstance(container, Record) and node.state is not None:
                pairs = [pair for pair in pairs if pair[0] != Part("state")]
                state = Part("state")
                queued.append(((*path, state), node.state, StateOf(container), state, (*target, state), copy))
            else:
                pairs = self._written(path, node, pairs)
            for (child_key, child), name in zip(pairs, self._keys(path, pairs, container), strict=True):
                if isinstance(container, dict):
                    container[name] = None
                step = Index(name) if isinstance(container, list) else name
                queued.append(((*path, child_key), child, container, name, (*target, step), copy))
            stack.extend(reversed(queued))

    def _carry(self, path: KeyPath, text: str) -> None:
        """Note what only the metadata keeps; what is in a copy is said where the copy begins."""
        if not self.in_copy:
            self.ledger.carry(path, text)

    def _written(self, path: KeyPath, node: Any, pairs: list[tuple[Key, Any]]) -> list[tuple[Key, Any]]:
        """Return the children that are written natively: of an object with fields not what else its class keeps.

        The document has that, unless there are arrays in it. Loaders of the target compare names with those of a
        model, and the attributes of a state dict are none of them.
        """
        if not isinstance(node, Record) or not node or self.holds.attributes == "none":
            return pairs
        return [
            (key, child)
            for key, child in pairs
            if not isinstance(key, Part) or (*path, key) in self._parts_with_arrays
        ]

    @functools.cached_property
    def _parts_with_arrays(self) -> frozenset[KeyPath]:
        """The paths of the parts of objects, other than fields, that hold arrays."""
        arrays = [path for path, leaf in walk(self.tree) if isinstance(leaf, LazyArray)]
        return frozenset(
            path[: i + 1] for path in arrays for i, key in enumerate(path) if isinstance(key, Part)
        )

    def _is_shared(self, alias: Alias, path: KeyPath, within: _Copy | None) -> bool:
        """Say whether the target refers to a container again; no tuple can be made that holds itself."""
        if not self.holds.sharing or alias.path not in self.built:
            return False
        is_tuple = isinstance(self.built[alias.path], UnfinishedTuple)
        return not (is_tuple and _is_around(alias.path, path, within))

    def _alias(self, path: KeyPath, alias: Alias, within: _Copy | None) -> tuple[Any, _Copy | None]:
        """Resolve a shared container to a copy of moderate size; one around this place is left out."""
        if _is_around(alias.path, path, within) or self.budget <= 0:
            self._carry(path, f"a reference to {render_path(alias.path) or 'the top'}, left out")
            return OMITTED, within
        self._carry(path, f"a reference to {render_path(alias.path)}, written as a copy")
        return get(self.tree, alias.path), _Copy(path, alias.path, within)

    def _container(self, path: KeyPath, node: Any, length: int) -> Any:
        known = self.holds.containers
        if isinstance(node, Record):
            if node.type_name != "collections.OrderedDict" or "OrderedDict" not in known:
                self._carry(path, f"an object of type {node.type_name}, written as a dict")
                return {}
            return Record(node.type_name)
        if isinstance(node, dict):
            if type(node) is not dict:
                self._carry(path, f"a {type(node).__name__}, written as a dict")
            return {}
        if isinstance(node, tuple) and "tuple" in known:
            return UnfinishedTuple([None] * length)
        if isinstance(node, tuple):
            self._carry(path, "a tuple, written as a list" if "list" in known else "a tuple")
        elif "list" not in known:
            self._carry(path, "a list, written as a dict")
        return [None] * length if "list" in known else {}

    def _keys(self, path: KeyPath, pairs: list[tuple[Any, Any]], container: Any) -> list[Any]:
        if isinstance(container, list):
            return list(range(len(pairs)))
        kept: list[Any] = []
        taken = {key for key, _ in pairs if type(key) is str}
        reserved = frozenset() if path else self.holds.reserved
        taken |= reserved
        for key, _ in pairs:
            if self._holds_key(key) and key not in reserved:
                kept.append(key)
                continue
            name = word_of(key)
            while name in taken:
                name = render_key(key) if name == word_of(key) and render_key(key) != name else name + "'"
            taken.add(name)
            if not isinstance(key, (Index, Part)):
                self._carry((*path, key), describe_key(key))
            kept.append(name)
        if not self.holds.order and kept != sorted(kept, key=str):
            self._carry(path, "the order of keys")
        return kept

    def _holds_key(self, key: Any) -> bool:
        """Say whether the container knows a key, and of a tuple every part."""
        parts = [key]
        while parts:
            part = parts.pop()
            if kind_of_key(part) not in self.holds.keys or self._is_too_wide(part):
                return False
            if type(part) is tuple:
                parts.extend(part)
        return True

    def _leaf(self, path: KeyPath, target: KeyPath, value: Any, is_copy: bool) -> Any:
        if isinstance(value, LazyArray):
            return self._array(path, target, value, is_copy)
        if kind_of(value) in self.holds.values and not self._is_too_wide(value):
            if self._is_told(target, value):
                return value
            self._carry(path, "a text under a name that a JSON pointer does not tell, written as None")
            return self._nothing()
        self._carry(path, describe(value))
        nearest = self._nearest(value)
        return nearest if self._is_told(target, nearest) else self._nothing()

    def _left_out(self, path: KeyPath, leaf: Any) -> Any:
        """Note a leaf without a place; the document has what is no array."""
        note = self.ledger.lose if isinstance(leaf, LazyArray) else self._carry
        note(path, "a name that is taken once names are joined by dots, left out")
        return OMITTED

    def _free_name(
        self, path: KeyPath, leaf: Any, into: Any, key: Any, target: KeyPath
    ) -> tuple[Any, KeyPath] | None:
        """Return the key of a leaf, another one where its name is taken once keys are joined by dots.

        Positions in lists are what they are: entries of dicts give way to them, and of two that are one, the second
        has no place.
        """
        if leaf is None or not self.holds.unique_names:
            return key, target
        name = _joined(target)
        if name not in self.joined and (isinstance(into, list) or name not in self._names_in_lists):
            self.joined.add(name)
            return key, target
        if isinstance(into, list):
            return None
        free = f"{key}'"
        while free in into or _joined((*target[:-1], free)) in self.joined | self._names_in_lists:
            free += "'"
        into[free] = into.pop(key)
        self.joined.add(_joined((*target[:-1], free)))
        self._carry(path, f"a name that is taken once names are joined by dots, written as {free!r}")
        return free, (*target[:-1], free)

    @functools.cached_property
    def _names_in_lists(self) -> frozenset[str]:
        """The names of the leaves that are elements of lists, where names are to be unique."""
        if not self.holds.unique_names:
            return frozenset()
        return frozenset(
            _joined(path) for path, _ in flatten(self.tree) if path and isinstance(path[-1], Index)
        )

    def _array(self, path: KeyPath, target: KeyPath, array: LazyArray, is_copy: bool) -> Any:
        if is_copy:
            self.ledger.copies.append(render_path(target))
            return self.ledger.stored(path, array)
        return self.ledger.place(path, target, array)

    def _is_told(self, target: KeyPath, value: Any) -> bool:
        """Say whether a text is found under its name, where a container looks for texts by pointers."""
        if type(value) is not str or not self.holds.pointed_texts:
            return True
        return self.texts.add(".".join(_words(target)))

    def _nothing(self) -> Any:
        return None if "None" in self.holds.values else OMITTED

    def _is_too_wide(self, value: Any) -> bool:
        bits = self.holds.int_bits
        return type(value) is int and bits is not None and not -(1 << (bits - 1)) <= value < 1 << (bits - 1)

    def _nearest(self, value: Any) -> Any:
        """The native value that comes closest, for readers that know no neutral document."""
        if isinstance(value, np.generic):
            value = value.item()
        elif kind_of(value) == SURROGATES:
            value = word_of(value)
        elif type(value) is int or not isinstance(value, (bool, int, float, complex, str, bytes, type(None))):
            value = value.name if isinstance(value, Global) else str(value)
        return value if kind_of(value) in self.holds.values and not self._is_too_wide(value) else OMITTED


def _is_around(container: KeyPath, path: KeyPath, within: _Copy | None) -> bool:
    """Say whether a place lies in a container, as it stands in the tree or as one of the copies around the place."""
    while within is not None:
        original = (*within.origin, *path[len(within.place) :])
        if len(within.origin) <= len(container) and original[: len(container)] == container:
            return True
        path, within = within.place, within.outer
    return path[: len(container)] == container


def _joined(path: KeyPath) -> str:
    """The name of a leaf: its keys joined by dots; a slash at the end is the same as none."""
    return ".".join(_words(path)).removesuffix("/")


def _words(path: KeyPath) -> list[str]:
    return [str(int(key)) if isinstance(key, Index) else str(key) for key in path]
