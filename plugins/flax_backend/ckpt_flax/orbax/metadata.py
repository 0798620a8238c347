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
from ckpt_flax.orbax.jsontext import read_object

__all__ = ["DICT_KEY", "EMPTY", "SEQUENCE_KEY", "ItemMetadata", "Leaf", "build_tree", "read_metadata"]

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


class Leaf(NamedTuple):
    """One entry of the tree: its keys, which of them are positions in a list, and the type of the value."""

    keys: tuple[str, ...]
    positions: tuple[bool, ...]
    value_type: str
    skip: bool

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
    document = read_object(source)
    tree = document.get("tree_metadata")
    if not isinstance(tree, dict):
        raise DamagedFileError("has no tree_metadata", path=source.path)
    leaves = [_leaf(text, entry, source.path) for text, entry in tree.items()]
    custom = document.get("custom_metadata")
    return ItemMetadata(
        leaves,
        document.get("store_array_data_equal_to_fill_value") is False,
        custom if isinstance(custom, dict) else {},
    )


def _leaf(text: str, entry: Any, path: str) -> Leaf:
    try:
        keys = tuple([part["key"] for part in entry["key_metadata"]])
        positions = tuple([part["key_type"] == SEQUENCE_KEY for part in entry["key_metadata"]])
        value = entry["value_metadata"]
        value_type, skip = value["value_type"], value.get("skip_deserialize") is True
    except (KeyError, TypeError, AttributeError):
        raise DamagedFileError("an entry of the tree is incomplete", path=path, place=text[:200]) from None
    if type(value_type) is not str or not all([type(key) is str for key in keys]):
        keys = tuple(map(str, keys))
        value_type = str(value_type)
    if len(keys) > MAX_DEPTH:
        raise LimitError(f"nested deeper than {MAX_DEPTH} levels", path=path, place=text[:200])
    return Leaf(keys, positions, value_type, skip)


class _Branch(dict[str, Any]):
    """A container under construction; `is_list` when its keys are positions."""

    __slots__ = ("is_list",)

    def __init__(self, is_list: bool) -> None:
        super().__init__()
        self.is_list = is_list


def build_tree(leaves: Iterable[tuple[tuple[str, ...], tuple[bool, ...], Any]], path: str) -> Any:
    """Build dicts and lists from (keys, which are positions, value) entries.

    A list whose positions are not 0, 1, 2, ... stays a dict: Orbax writes such trees when a part of a tree is
    saved.

    Raises:
        DamagedFileError: two entries have the same path, or one goes through another's value.
    """
    root: list[Any] = []
    branches: list[tuple[Any, Any, _Branch]] = []
    for keys, positions, value in leaves:
        if not keys:
            if root:
                raise DamagedFileError("a value stands where others are nested", path=path)
            root.append(value)
            continue
        if not root:
            root.append(_Branch(positions[0]))
            branches.append((root, 0, root[0]))
        node = root[0]
        for depth, key in enumerate(keys[:-1]):
            child = node.get(key) if type(node) is _Branch else None
            if child is None and type(node) is _Branch and key not in node:
                child = _Branch(positions[depth + 1])
                branches.append((node, key, child))
                node[key] = child
            node = child
        if type(node) is not _Branch or keys[-1] in node:
            place = ".".join(keys)[:200]
            raise DamagedFileError("an entry is given twice or inside another", path=path, place=place)
        node.is_list = node.is_list and positions[-1]
        node[keys[-1]] = value
    for parent, key, branch in reversed(branches):
        parent[key] = _closed(branch)
    return root[0] if root else {}


def _closed(branch: _Branch) -> Any:
    if not branch.is_list:
        return dict(branch)
    size = len(branch)
    in_order = [str(i) for i in range(size)]
    if all(map(branch.__contains__, in_order)):
        return [branch[key] for key in in_order]
    return dict(branch)
