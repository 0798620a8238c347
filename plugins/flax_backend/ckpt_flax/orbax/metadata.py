"""The `_METADATA` document of an item: its tree, and how its arrays are stored.

The form is that of `orbax.checkpoint` (`_src/metadata/tree.py`): `tree_metadata` maps the text of a key path
to its typed keys and the type of its value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ckpt_core.errors import DamagedFileError, LimitError
from ckpt_core.source import Source
from ckpt_core.tree import MAX_DEPTH
from ckpt_flax.orbax.jsontext import read_entries

__all__ = ["DICT_KEY", "EMPTY", "SEQUENCE_KEY", "ItemMetadata", "Kind", "Leaf", "build_tree", "read_metadata"]

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


class Leaf(NamedTuple):
    """One entry of the tree."""

    keys: Keys
    kind: Kind

    @property
    def name(self) -> str:
        """The name of the array, as Orbax forms it."""
        return ".".join(self.keys)


@dataclass(frozen=True, slots=True)
class ItemMetadata:
    """What `_METADATA` says.

    Arguments:
        leaves: the entries of the tree in their order.
        omits_fill: chunks that equal the fill value were not stored.
        custom: the user's own metadata.
    """

    leaves: list[Leaf]
    omits_fill: bool = False
    custom: dict[str, Any] = field(default_factory=dict)


def read_metadata(source: Source) -> ItemMetadata:
    """Parse a `_METADATA` file; raises DamagedFileError when it is none."""
    leaves: list[Leaf] = []
    kinds: dict[Kind, Kind] = {}
    texts: dict[str, str] = {}

    def entry(text: str, value: Any) -> None:
        leaf = _leaf(text, value)
        keys = tuple([texts.setdefault(key, key) for key in leaf.keys])
        leaves.append(Leaf(keys, kinds.setdefault(leaf.kind, leaf.kind)))

    document = read_entries(source, "tree_metadata", entry)
    if document.get("tree_metadata") != {}:
        raise DamagedFileError("has no tree_metadata", path=source.path)
    custom = document.get("custom_metadata")
    return ItemMetadata(
        leaves,
        document.get("store_array_data_equal_to_fill_value") is False,
        custom if isinstance(custom, dict) else {},
    )


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
    return Leaf(keys, Kind(positions, value_type, skip))


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
    """Containers under construction, by their paths; the one that holds the whole tree has none."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.whole: dict[str, Any] = {}
        self.branches: dict[Keys, dict[str, Any]] = {}
        self.lists: dict[Keys, None] = {}
        """The branches whose keys are positions so far, in their order."""

    def add(self, keys: Keys, positions: tuple[bool, ...], value: Any) -> None:
        if not keys:
            self._put(self.whole, "", value, keys)
            return
        above = keys[:-1]
        branch = self.branches.get(above)
        if branch is None:
            branch = self._branch(above, positions)
        elif not positions[-1]:
            self.lists.pop(above, None)
        self._put(branch, keys[-1], value, keys)

    def _branch(self, keys: Keys, positions: tuple[bool, ...]) -> dict[str, Any]:
        """Make the container at a path, and those on the way to it that are not there yet."""
        depth = len(keys)
        while depth and keys[:depth] not in self.branches:
            depth -= 1
        if depth == 0 and not self.branches:
            self._make(self.whole, "", (), positions[0])
        branch = self.branches[keys[:depth]]
        for below in range(depth, len(keys)):
            if not positions[below]:
                self.lists.pop(keys[:below], None)
            branch = self._make(branch, keys[below], keys[: below + 1], positions[below + 1])
        return branch

    def _make(self, into: dict[str, Any], key: str, keys: Keys, is_list: bool) -> dict[str, Any]:
        branch: dict[str, Any] = {}
        self._put(into, key, branch, keys)
        self.branches[keys] = branch
        if is_list:
            self.lists[keys] = None
        return branch

    def _put(self, into: dict[str, Any], key: str, value: Any, keys: Keys) -> None:
        if key in into:
            place = ".".join(keys)[:200]
            raise DamagedFileError("an entry is given twice or inside another", path=self.path, place=place)
        into[key] = value

    def tree(self) -> Any:
        """Return the whole, in which branches whose keys are the positions 0, 1, 2, ... are lists."""
        for keys in reversed(self.lists):
            branch = self.branches[keys]
            in_order = [str(i) for i in range(len(branch))]
            if all(map(branch.__contains__, in_order)):
                into = self.branches[keys[:-1]] if keys else self.whole
                into[keys[-1] if keys else ""] = [branch[key] for key in in_order]
        return self.whole.get("", {})
