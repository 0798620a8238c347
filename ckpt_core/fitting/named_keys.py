"""Give a name to each dictionary key that has no neutral form: an object, such as a live optimizer's parameter."""

from __future__ import annotations

from typing import Any

from ckpt_core.errors import UnsupportedError
from ckpt_core.fitting import neutral
from ckpt_core.fitting.kinds import word_of
from ckpt_core.tree import Alias, KeyPath, children, rebuild, transform, walk

__all__ = ["name_keys"]


def name_keys(tree: Any) -> tuple[Any, list[KeyPath]]:
    """Put its text in place of every key that is an object.

    Arguments:
        tree: any tree.

    Returns:
        The tree (the same one where no key is an object), and the new paths of the keys that were. Where
        several keys of a dictionary have one text they are numbered, so every entry stays.
    """
    if not _has_object_keys(tree):
        return tree, []
    names: dict[int, dict[Any, str]] = {}
    moved: dict[KeyPath, str] = {}
    for path, node in walk(tree):
        if isinstance(node, dict):
            names[id(node)] = named = _names(node)
            moved.update({(*path, key): name for key, name in named.items()})

    def on_leaf(_: KeyPath, leaf: Any) -> Any:
        return Alias(_new_path(leaf.path, moved)) if isinstance(leaf, Alias) else leaf

    def on_close(node: Any, pairs: list[tuple[Any, Any]]) -> Any:
        named = names.get(id(node))
        return rebuild(node, [(named.get(key, key), child) for key, child in pairs] if named else pairs)

    return transform(tree, on_leaf, on_close), [_new_path(path, moved) for path in moved]


def _has_object_keys(tree: Any) -> bool:
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict) and any([type(key) is not str and _is_object(key) for key in node]):
            return True
        stack.extend([child for _, child in children(node) or ()])
    return False


def _is_object(key: Any) -> bool:
    try:
        neutral.encode_value(key)
    except UnsupportedError:
        return True
    return False


def _names(node: dict[Any, Any]) -> dict[Any, str]:
    """The new name of each key that is an object."""
    taken = {key for key in node if type(key) is str}
    counts: dict[str, int] = {}
    names: dict[Any, str] = {}
    for key in node:
        if type(key) is str or not _is_object(key):
            continue
        text = name = word_of(key)
        while name in taken:
            counts[text] = counts.get(text, 1) + 1
            name = f"{text} ({counts[text]})"
        taken.add(name)
        names[key] = name
    return names


def _new_path(path: KeyPath, moved: dict[KeyPath, str]) -> KeyPath:
    return tuple(moved.get(path[: depth + 1], key) for depth, key in enumerate(path))
