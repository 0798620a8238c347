"""Fit a tree to what a container holds, and bring it back.

What the container holds natively stays as it is. Everything else has its nearest native value written (a tuple
as a list, a Namespace as a dict, a numpy scalar as a number), while the exact tree travels as one JSON document
in the container's metadata (`neutral.py`). What fits neither is a loss.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Holds, Stored
from ckpt_core.errors import CheckpointError
from ckpt_core.fitting import neutral
from ckpt_core.fitting.bytewise import as_bytes
from ckpt_core.fitting.construction import OMITTED, StateOf, UnfinishedTuple, close_tuples
from ckpt_core.fitting.kinds import (
    SURROGATES,
    describe,
    describe_key,
    kind_name,
    kind_of,
    kind_of_key,
    span_of,
    word_of,
)
from ckpt_core.fitting.named_keys import name_keys
from ckpt_core.tree import (
    Alias,
    Global,
    Index,
    KeyPath,
    Part,
    Record,
    children,
    flatten,
    get,
    map_with_path,
    render_key,
    render_path,
)

__all__ = ["Fitted", "Remark", "fit"]

_JSON_DEPTH: Final = 150
"""Levels of nesting that a document may have, well within what JSON parsers take."""

_BARE: Final = "tree"
"""The name of the one entry when the tree itself is no dictionary."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something at a path that the target does not hold, and what happens to it."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.text} @ {self.path or '(the whole)'}"


@dataclass(frozen=True, slots=True)
class Fitted:
    """A tree fitted to a container.

    Arguments:
        stored: what the backend writes.
        carried: kept exactly, in the container's metadata; official loaders see the nearest value or nothing.
        losses: what the container cannot hold.
        notes: what the container holds and not all of its official loaders read, one sentence per dtype.
    """

    stored: Stored
    carried: tuple[Remark, ...] = ()
    losses: tuple[Remark, ...] = ()
    notes: tuple[str, ...] = ()


def fit(stored: Stored, holds: Holds, ties: tuple[tuple[KeyPath, ...], ...] = ()) -> Fitted:
    """Fit a tree to a container.

    Arguments:
        stored: a tree and the free metadata of its container.
        holds: what the target container holds.
        ties: groups of paths whose arrays were tied before another container separated them.

    Returns:
        The fitted tree, with what is carried in metadata and what is lost.
    """
    return _Fitting(stored, holds, ties).run()


@dataclass
class _Fitting:
    source: Stored
    holds: Holds
    ties: tuple[tuple[KeyPath, ...], ...] = ()
    carried: list[Remark] = field(default_factory=list)
    losses: list[Remark] = field(default_factory=list)
    names: dict[KeyPath, tuple[KeyPath, LazyArray]] = field(default_factory=dict)
    copies: list[str] = field(default_factory=list)
    tied: list[list[str]] = field(default_factory=list)

    def run(self) -> Fitted:
        named, paths = name_keys(self.source.tree)
        self.source = Stored(named, self.source.attributes, self.source.notes)
        for path in paths:
            self.lose(path, "a key that is an object, written as its text")
        tree = self._flat() if not self.holds.containers else self._nested()
        self._sharing()
        attributes = self._attributes()
        return Fitted(Stored(tree, attributes), tuple(self.carried), tuple(self.losses), self._notes())

    def _notes(self) -> tuple[str, ...]:
        """One sentence per dtype that some official loader does not read."""
        counts = Counter(
            array.dtype for _, array in self.names.values() if array.dtype in self.holds.loader_gaps
        )
        return tuple(
            f"{dtype} ({count} array{'s' if count > 1 else ''}) {self.holds.loader_gaps[dtype]}"
            for dtype, count in sorted(counts.items())
        )

    def carry(self, path: KeyPath, text: str) -> None:
        remarks = self.losses if self.holds.attributes == "none" else self.carried
        remarks.append(Remark(render_path(path), text))

    def lose(self, path: KeyPath, text: str) -> None:
        self.losses.append(Remark(render_path(path), text))

    # A flat table of named arrays.

    def _flat(self) -> dict[str, LazyArray]:
        table: dict[str, LazyArray] = {}
        if not isinstance(self.source.tree, dict) or isinstance(self.source.tree, Record):
            self.carry((), f"a {kind_name(self.source.tree)} at the top")
        for path, leaf in flatten(self.source.tree):
            if isinstance(leaf, LazyArray):
                name = self._flat_name(path, table)
                table[name] = self._array(path, (name,), leaf)
            else:
                self.carry(path, describe(leaf))
            if len(path) > 1 and not self.carried:
                self.carry(path[:1], "nesting")
        return table

    def _flat_name(self, path: KeyPath, table: Mapping[str, LazyArray]) -> str:
        name = ".".join(map(word_of, path)) if path else _BARE
        if name in table or name in self.holds.reserved:
            name = render_path(path)
            while name in table or name in self.holds.reserved:
                name += "'"
            self.carry(path, f"a name that is taken already, written as {name!r}")
        elif len(path) == 1 and type(path[0]) is not str:
            self.carry(path, describe_key(path[0]))
        for key in path:
            if kind_of_key(key) == SURROGATES:
                self.carry(path, describe_key(key))
        return name

    # Nested containers.

    def _nested(self) -> Any:
        root = self.source.tree
        if not isinstance(root, dict):
            self.carry((), f"a {kind_name(root)} at the top, written under {_BARE!r}")
            box: dict[Any, Any] = {}
            self._fill([((), root, box, _BARE, (_BARE,), False)])
            return self._with_tuples(box)
        holder: dict[Any, Any] = {}
        self._fill([((), root, holder, 0, (), False)])
        return self._with_tuples(holder[0])

    def _fill(self, stack: list[Any]) -> None:
        """Build the fitted containers top-down, so that the new path of each leaf is known."""
        self.budget = 10_000
        joined: set[str] = set()
        built: dict[KeyPath, Any] = {}
        while stack:
            path, node, into, key, target, is_copy = stack.pop()
            if isinstance(node, Alias):
                node, is_copy = self._alias(path, node, built)
                if node is OMITTED:
                    continue
                if not is_copy:
                    into[key] = node
                    continue
            pairs = children(node)
            if pairs is None:
                value = self._leaf(path, target, node, joined, is_copy)
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
                built[path] = container
            queued = []
            if isinstance(container, Record) and node.state is not None:
                pairs = [pair for pair in pairs if pair[0] != Part("state")]
                state = Part("state")
                queued.append(
                    ((*path, state), node.state, StateOf(container), state, (*target, state), is_copy)
                )
            for (child_key, child), name in zip(pairs, self._keys(path, node, pairs, container), strict=True):
                if isinstance(container, dict):
                    container[name] = None
                step = Index(name) if isinstance(container, list) else name
                queued.append(((*path, child_key), child, container, name, (*target, step), is_copy))
            stack.extend(reversed(queued))

    def _alias(self, path: KeyPath, alias: Alias, built: Mapping[KeyPath, Any]) -> tuple[Any, bool]:
        """Resolve a shared container: the same object where the target shares, else a copy of moderate size."""
        if self.holds.sharing and alias.path in built:
            return built[alias.path], False
        is_cycle = path[: len(alias.path)] == alias.path
        if is_cycle or self.budget <= 0:
            self.carry(path, f"a reference to {render_path(alias.path) or 'the top'}, left out")
            return OMITTED, False
        self.carry(path, f"a reference to {render_path(alias.path)}, written as a copy")
        return get(self.source.tree, alias.path), True

    def _container(self, path: KeyPath, node: Any, length: int) -> Any:
        if isinstance(node, Record):
            if node.type_name != "collections.OrderedDict" or "OrderedDict" not in self.holds.containers:
                self.carry(path, f"an object of type {node.type_name}, written as a dict")
                return {}
            return Record(node.type_name)
        if isinstance(node, dict):
            if type(node) is not dict:
                self.carry(path, f"a {type(node).__name__}, written as a dict")
            return {}
        if isinstance(node, tuple) and "tuple" in self.holds.containers:
            return UnfinishedTuple([None] * length)
        if isinstance(node, tuple):
            self.carry(path, "a tuple, written as a list" if "list" in self.holds.containers else "a tuple")
        elif "list" not in self.holds.containers:
            self.carry(path, "a list, written as a dict")
        return [None] * length if "list" in self.holds.containers else {}

    def _keys(self, path: KeyPath, node: Any, pairs: list[tuple[Any, Any]], container: Any) -> list[Any]:
        if isinstance(container, list):
            return list(range(len(pairs)))
        kept: list[Any] = []
        taken = {key for key, _ in pairs if type(key) is str}
        if not path:
            taken |= self.holds.reserved
        for key, _ in pairs:
            is_reserved = not path and key in self.holds.reserved
            if kind_of_key(key) in self.holds.keys and not is_reserved:
                kept.append(key)
                continue
            name = word_of(key)
            while name in taken:
                name = render_key(key) if name == word_of(key) and render_key(key) != name else name + "'"
            taken.add(name)
            if not isinstance(key, (Index, Part)):
                self.carry((*path, key), describe_key(key))
            kept.append(name)
        if not self.holds.order and kept != sorted(kept, key=str):
            self.carry(path, "the order of keys")
        return kept

    def _leaf(self, path: KeyPath, target: KeyPath, value: Any, joined: set[str], is_copy: bool) -> Any:
        if isinstance(value, LazyArray):
            if self.holds.unique_names:
                text = ".".join(map(str, target))
                if text in joined:
                    self.lose(
                        path, "a name that is taken once names are joined by dots; the array is left out"
                    )
                    return OMITTED
                joined.add(text)
            if is_copy:
                self.copies.append(render_path(target))
                return self._array(path, target, value, register=False)
            return self._array(path, target, value)
        kind = kind_of(value)
        if kind in self.holds.values and not self._is_too_wide(value):
            return value
        self.carry(path, describe(value))
        return self._nearest(value)

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

    def _with_tuples(self, tree: Any) -> Any:
        return close_tuples(tree) if "tuple" in self.holds.containers else tree

    # Arrays.

    def _array(self, path: KeyPath, target: KeyPath, array: LazyArray, register: bool = True) -> LazyArray:
        if register:
            self.names[path] = (target, array)
        if array.dtype in self.holds.dtypes:
            return array
        self.lose(path, f"dtype {array.dtype} is unknown to the target; the bytes are written as uint8")
        return as_bytes(array)

    def _sharing(self) -> None:
        """Name what is tied or overlapping where the target cannot share bytes."""
        if self.holds.overlapping:
            return
        groups: dict[int, list[tuple[KeyPath, KeyPath, LazyArray]]] = {}
        for path, (target, array) in self.names.items():
            if len(array.pieces) == 1 and array.nbytes:
                groups.setdefault(id(array.pieces[0].storage), []).append((path, target, array))
        for members in groups.values():
            if len(members) > 1:
                self._one_storage(members)
        if not self.holds.sharing:
            for group in self.ties:
                self._tied([(path, self.names[path][0]) for path in group if path in self.names])

    def _one_storage(self, members: list[tuple[KeyPath, KeyPath, LazyArray]]) -> None:
        same: dict[Any, list[tuple[KeyPath, KeyPath, LazyArray]]] = {}
        for member in members:
            same.setdefault(member[2].identity, []).append(member)
        for tied in same.values():
            if not self.holds.sharing:
                self._tied([(path, target) for path, target, _ in tied])
        spans = sorted((*span_of(group[0][2]), group[0][0]) for group in same.values())
        reach = -1
        for low, high, path in spans:
            if low < reach:
                self.lose(path, "shares part of its bytes with another array, written as a copy")
            reach = max(reach, high)

    def _tied(self, places: list[tuple[KeyPath, KeyPath]]) -> None:
        """Name arrays that are tied, by their paths in the tree and in the target."""
        if len(places) > 1:
            self.tied.append([self._name(target) for _, target in places])
            self.carry(places[1][0], f"tied to {render_path(places[0][0])}, written as a copy")

    def _name(self, target: KeyPath) -> str:
        return str(target[0]) if not self.holds.containers else render_path(target)

    # The document.

    def _attributes(self) -> dict[str, Any]:
        own = {key: value for key, value in self.source.attributes.items() if key != neutral.DOCUMENT}
        if self.holds.attributes == "none":
            for key in own:
                self.losses.append(Remark("", f"the metadata {key!r}"))
            return {}
        kept = own
        if self.holds.attributes == "text":
            kept = {key: value for key, value in own.items() if isinstance(value, str)}
        rest = {key: value for key, value in own.items() if key not in kept}
        if not (self.carried or rest or self._reinterpreted()):
            return kept
        document = {neutral.DOCUMENT: neutral.VERSION, "tree": self._encoded()}
        extra = {"tied": self.tied, "copies": self.copies, "attributes": rest}
        document.update({key: value for key, value in extra.items() if value})
        try:
            if max((len(path) for path, _ in flatten(self.source.tree)), default=0) > _JSON_DEPTH:
                raise RecursionError(f"nested deeper than {_JSON_DEPTH} levels")
            return {**kept, neutral.DOCUMENT: json.dumps(document, separators=(",", ":"), ensure_ascii=False)}
        except (RecursionError, ValueError, UnicodeEncodeError) as error:
            self.losses.extend(self.carried)
            self.losses.append(Remark("", f"the exact tree, which JSON cannot describe ({error})"))
            self.carried.clear()
            return kept

    def _reinterpreted(self) -> bool:
        return any(array.dtype not in self.holds.dtypes for _, array in self.names.values())

    def _encoded(self) -> Any:
        def reference(path: KeyPath, array: LazyArray) -> Mapping[str, Any]:
            entry = self.names.get(path)
            if entry is None:
                return {"lost": True}
            name = self._name(entry[0])
            fields: dict[str, Any] = {} if name == self._default_name(path) else {"name": name}
            if array.dtype not in self.holds.dtypes:
                fields["dtype"] = array.dtype
            return fields

        return neutral.encode(self._encodable(), reference)

    def _default_name(self, path: KeyPath) -> str:
        return ".".join(map(word_of, path)) if not self.holds.containers else render_path(path)

    def _encodable(self) -> Any:
        """The tree with every value that has no neutral form replaced by a Record of its text."""

        def leaf(path: KeyPath, value: Any) -> Any:
            if isinstance(value, LazyArray):
                return value
            try:
                neutral.encode_value(value)
            except CheckpointError:
                self.lose(path, f"a {type(value).__name__}, written as its text")
                return repr(value)[:1000]
            return value

        return map_with_path(leaf, self.source.tree)
