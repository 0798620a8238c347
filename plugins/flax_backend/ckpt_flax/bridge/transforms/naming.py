"""Parameters by name: labels, masks, and the name of a leaf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from ckpt_core.keypath import join_name

__all__ = ["labels_by_name", "mask_by_name", "name_of"]


def labels_by_name(names: Mapping[str, Sequence[str]]) -> Any:
    """Return a function that labels parameters by name, for `optax.multi_transform`.

    Arguments:
        names: for each label, the names of its parameters, segments joined by `/`, as `ckpt inspect` shows them.

    Raises:
        KeyError: when applied, a parameter stands under no label.
    """
    label_of = {name: label for label, members in names.items() for name in members}

    def labels(params: Any) -> Any:
        def leaf(path: Any, _: Any) -> str:
            return label_of[name_of(path)]

        return jax.tree_util.tree_map_with_path(leaf, params)

    return labels


def mask_by_name(names: Sequence[str]) -> Any:
    """Return a function that masks parameters by name: True for those that are listed.

    Arguments:
        names: the names, segments joined by `/`, as `ckpt inspect` shows them.
    """
    chosen = frozenset(names)

    def mask(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, _: name_of(path) in chosen, params)

    return mask


def name_of(path: Sequence[Any]) -> str:
    """Return the neutral name of a leaf: without what wraps all parameters (`params`) or one value (`value`)."""
    segments = [_segment(key) for key in path]
    if len(segments) > 1 and segments[0] == "params":
        segments = segments[1:]
    if len(segments) > 1 and segments[-1] == "value":
        segments = segments[:-1]
    return join_name(tuple(segments))


def _segment(key: Any) -> str:
    tree = jax.tree_util
    if isinstance(key, (tree.DictKey, tree.FlattenedIndexKey)):
        return str(key.key)
    return str(key.name if isinstance(key, tree.GetAttrKey) else key.idx)
