"""Bring back the exact tree that a fitted container describes in its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Holds, Stored
from ckpt_core.errors import CheckpointError
from ckpt_core.fitting import neutral
from ckpt_core.fitting.bytewise import from_bytes
from ckpt_core.fitting.kinds import word_of
from ckpt_core.tree import Alias, KeyPath, flatten, get, render_path, walk

__all__ = ["unfit"]


def unfit(stored: Stored, holds: Holds | None) -> tuple[Stored, tuple[tuple[KeyPath, ...], ...]]:
    """Bring back the exact tree where the container's metadata describes it.

    Arguments:
        stored: what a backend opened.
        holds: what its container holds.

    Returns:
        The exact tree, and the groups of paths whose arrays were tied before the container separated them.
        A description that does not match the arrays is set aside, with a note.
    """
    text = stored.attributes.get(neutral.DOCUMENT)
    document = neutral.parse(text) if isinstance(text, str) else None
    if document is None:
        return stored, ()
    attributes = {key: value for key, value in stored.attributes.items() if key != neutral.DOCUMENT}
    is_flat = holds is not None and not holds.containers
    leaves = {
        str(path[0]) if is_flat else render_path(path): leaf
        for path, leaf in flatten(stored.tree)
        if isinstance(leaf, LazyArray)
    }
    used: dict[str, KeyPath] = {}

    def array(path: KeyPath, body: Mapping[str, Any]) -> LazyArray:
        name = body.get("name")
        if name is None:
            name = ".".join(map(word_of, path)) if is_flat else render_path(path)
        used[name] = path
        found = leaves[name]
        return from_bytes(found, body["dtype"]) if "dtype" in body else found

    try:
        attributes |= dict(document.get("attributes", {}))
        tree = neutral.decode(document["tree"], array)
        _check_aliases(tree)
        if set(leaves) - set(used) - set(document.get("copies", ())):
            raise ValueError("there are arrays that it does not describe")
        tied = tuple(tuple(used[name] for name in group) for group in document.get("tied", ()))
    except (CheckpointError, KeyError, ValueError, TypeError) as error:
        note = f"the description that a conversion left here does not match the arrays and is set aside ({error})"
        return Stored(stored.tree, attributes, (*stored.notes, note)), ()
    return Stored(tree, attributes, stored.notes), tied


def _check_aliases(tree: Any) -> None:
    """Raise KeyError unless every alias leads to a container."""
    for _, node in walk(tree):
        if isinstance(node, Alias) and not isinstance(get(tree, node.path), (dict, list, tuple)):
            raise KeyError(f"{render_path(node.path)} is no container")
