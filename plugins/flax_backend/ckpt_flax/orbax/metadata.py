"""The `_METADATA` document of an item: its tree, and how its arrays are stored.

The form is that of `orbax.checkpoint` (`_src/metadata/tree.py`): `tree_metadata` maps the text of a key path
to its typed keys and the type of its value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ckpt_core.errors import DamagedFileError, LimitError
from ckpt_core.source import Source
from ckpt_core.tree import MAX_DEPTH
from ckpt_flax.orbax.entries import read_entries

__all__ = [
    "DICT_KEY",
    "EMPTY",
    "SEQUENCE_KEY",
    "ItemMetadata",
    "Keys",
    "Kind",
    "Leaf",
    "build_tree",
    "read_metadata",
]

SEQUENCE_KEY: Final = 1
DICT_KEY: Final = 2

EMPTY: Final[dict[str, Callable[[], Any]]] = {
    "None": lambda: None,
    "NamedTuple": lambda: None,
    "Dict": dict,
    "List": list,
    "Tuple": tuple,
}
"""The values that are no arrays, by the name of their type."""


Keys = tuple[str, ...]


class Kind(NamedTuple):
    """What very many leaves have in common: which of the keys are positions in a list, and the type of the value."""

    positions: tuple[bool, ...]
    value_type: str
    skip: bool


Leaf = tuple[Keys, Kind]
"""One entry of the tree."""


@dataclass(frozen=True, slots=True)
class ItemMetadata:
    """What `_METADATA` says.

    Arguments:
        leaves: the entries of the tree in their order.
        dotted: a key has a dot in it, so that the names of two leaves may be the same.
        omits_fill: chunks that equal the fill value were not stored.
        custom: the user's own metadata.
    """

    leaves: list[Leaf]
    dotted: bool = True
    omits_fill: bool = False
    custom: dict[str, Any] = field(default_factory=dict)


def read_metadata(source: Source) -> ItemMetadata:
    """Parse a `_METADATA` file; raises DamagedFileError when it is none."""
    leaves = _Leaves()
    document = read_entries(source, "tree_metadata", leaves.entry, leaves.plain)
    if document.get("tree_metadata") != {}:
        raise DamagedFileError("has no tree_metadata", path=source.path)
    custom = document.get("custom_metadata")
    return ItemMetadata(
        leaves.found,
        leaves.dotted,
        document.get("store_array_data_equal_to_fill_value") is False,
        custom if isinstance(custom, dict) else {},
    )


_NAME: Final = re.compile(r"\"\('([^\"\\\x00-\x1f]{0,4000})',?\)\": ").match
"""The text of its keys, with which Orbax begins an entry, where it is not long and nothing in it has an escape."""

_SHORT: Final = 500
_FEW: Final = 1 << 10
"""Characters of the metadata of a value that is remembered, and how many of those are."""


class _Form:
    """How Orbax writes entries that have as many keys, of which the same are positions."""

    __slots__ = ("keys", "kinds", "positions")

    def __init__(self, positions: tuple[bool, ...]) -> None:
        types = [SEQUENCE_KEY if position else DICT_KEY for position in positions]
        keys = ", ".join([f'{{"key": "%s", "key_type": {number}}}' for number in types])
        self.positions = positions
        self.keys = f'{{"key_metadata": [{keys}], "value_metadata": '
        self.kinds: dict[str, Kind] = {}
        """What has been met so far, by the metadata of the value as it is written."""


class _Leaves:
    """The entries of a tree as they are parsed; what is equal in them is kept once."""

    def __init__(self) -> None:
        self.found: list[Leaf] = []
        self._texts: dict[str, str] = {}
        self._kinds: dict[Kind, Kind] = {}
        self._forms: dict[int, _Form] = {}

    @property
    def dotted(self) -> bool:
        """Whether there is a dot in one of the keys, which are joined with dots."""
        return any("." in text for text in self._texts)

    def entry(self, text: str, value: Any) -> None:
        """Add an entry, and remember how others of its kind are written."""
        keys, kind = _leaf(text, value)
        kind = self._kinds.setdefault(kind, kind)
        share = self._texts.setdefault
        self.found.append((tuple(map(share, keys, keys)), kind))
        form = self._forms.get(len(keys))
        if form is None or form.positions != kind.positions or len(form.kinds) == _FEW:
            form = self._forms[len(keys)] = _Form(kind.positions)
        written = json.dumps(value["value_metadata"])
        if len(written) <= _SHORT:
            form.kinds[written] = kind

    def plain(self, text: str, position: int) -> int:
        """Add the entries from a position on that are written as is expected from the text of their keys.

        As JSON, each would become a dozen objects, to find out that it differs from the one before in its keys. It
        is compared to the last letter instead, so that nothing depends on what was expected.

        Returns:
            The position of the first entry that is to be parsed.
        """
        forms, share, add = self._forms, self._texts.setdefault, self.found.append
        while match := _NAME(text, position):
            keys = match[1].split("', '")
            form = forms.get(len(keys))
            if form is None:
                break
            written = form.keys % (*keys,)
            start = match.end() + len(written)
            end = text.find('}}, "', start, start + _SHORT)
            kind = form.kinds.get(text[start : end + 1])
            if kind is None or not text.startswith(written, match.end()):
                break
            add((tuple(map(share, keys, keys)), kind))
            position = end + len("}}, ")
        return position


def _leaf(text: str, entry: Any) -> Leaf:
    try:
        parts = entry["key_metadata"]
        keys = tuple([part["key"] for part in parts])
        positions = tuple([part["key_type"] == SEQUENCE_KEY for part in parts])
        value = entry["value_metadata"]
        value_type, skip = value["value_type"], value.get("skip_deserialize") is True
    except (KeyError, TypeError, AttributeError):
        raise DamagedFileError("an entry of the tree is incomplete", place=text[:200]) from None
    if type(value_type) is not str or not all([type(key) is str for key in keys]):
        keys = tuple(map(str, keys))
        value_type = str(value_type)
    if len(keys) > MAX_DEPTH:
        raise LimitError(f"nested deeper than {MAX_DEPTH} levels", place=text[:200])
    return keys, Kind(positions, value_type, skip)


def build_tree(leaves: Iterable[tuple[Keys, tuple[bool, ...], Any]], path: str) -> Any:
    """Build dicts and lists from (keys, which are positions, value) entries.

    A list whose positions are not 0, 1, 2, ... stays a dict: Orbax writes such trees when a part of a tree is
    saved.

    Raises:
        DamagedFileError: two entries have the same path, or one goes through another's value.
    """
    building = _Building(path)
    for keys, positions, value in leaves:
        building.add(keys, positions, value)
    return building.tree()


class _Building:
    """A tree under construction, in which every container is a dict."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.whole: dict[str, Any] = {}
        """What there is, under a key of its own: containers, or one value."""
        self.root: dict[str, Any] | None = None
        self.lists: dict[int, tuple[dict[str, Any], str]] = {}
        """Where the containers stand whose keys are positions so far, by their identity, in their order."""
        self.values: set[int] = set()
        """The values that look like containers, by their identity."""

    def add(self, keys: Keys, positions: tuple[bool, ...], value: Any) -> None:
        if not keys:
            self._put(self.whole, "", value, keys)
            return
        branch = self._branch(keys, positions)
        if self.lists and not positions[-1]:
            self.lists.pop(id(branch), None)
        if type(value) is dict:
            self.values.add(id(value))
        self._put(branch, keys[-1], value, keys)

    def _branch(self, keys: Keys, positions: tuple[bool, ...]) -> dict[str, Any]:
        """Return the container of an entry; it and those on the way to it are made where they are not there yet."""
        if self.root is None:
            self.root = self._make(self.whole, "", (), positions[0])
        branch, values = self.root, self.values
        for depth, key in enumerate(keys[:-1]):
            inner = branch.get(key)
            if type(inner) is not dict or (values and id(inner) in values):
                if not positions[depth]:
                    self.lists.pop(id(branch), None)
                inner = self._make(branch, key, keys[: depth + 1], positions[depth + 1])
            branch = inner
        return branch

    def _make(self, into: dict[str, Any], key: str, keys: Keys, is_list: bool) -> dict[str, Any]:
        branch: dict[str, Any] = {}
        self._put(into, key, branch, keys)
        if is_list:
            self.lists[id(branch)] = into, key
        return branch

    def _put(self, into: dict[str, Any], key: str, value: Any, keys: Keys) -> None:
        if key in into:
            place = ".".join(keys)[:200]
            raise DamagedFileError("an entry is given twice or inside another", path=self.path, place=place)
        into[key] = value

    def tree(self) -> Any:
        """Return the whole, in which containers whose keys are the positions 0, 1, 2, ... are lists."""
        for into, key in reversed(self.lists.values()):
            branch = into[key]
            in_order = [str(i) for i in range(len(branch))]
            if all(map(branch.__contains__, in_order)):
                into[key] = [branch[place] for place in in_order]
        return self.whole.get("", {})
