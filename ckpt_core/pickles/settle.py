"""The last step of reading: what the machine left open is closed, and the graph becomes a tree."""

from __future__ import annotations

from typing import Any, Final

from ckpt_core.aliases import unshare
from ckpt_core.arrays import LazyArray
from ckpt_core.errors import LimitError
from ckpt_core.pickles.blob import Blob
from ckpt_core.pickles.constructors import Pending, Unfinished
from ckpt_core.tree import MAX_DEPTH, Global, Record

__all__ = ["settle"]

Replaced = dict[int, tuple[Any, Record]]

_LEAVES: Final = frozenset({LazyArray, str, int, float, bool, type(None), bytes, complex, Global})


def settle(value: Any, replaced: Replaced) -> Any:
    """Return the tree behind what the machine left on its stack.

    Arguments:
        value: the graph; its containers are changed in place, its tuples made anew where they must be.
        replaced: for containers that turned out to be Records, by id: the container and the Record.

    Raises:
        LimitError: it is nested deeper than MAX_DEPTH.
    """
    final = _Finals(replaced).final
    root = [value]
    level: list[Any] = [root]
    seen = {id(root)}
    shared = False
    for _ in range(MAX_DEPTH + 2):  # level by level: where nothing is shared, the level is the depth
        following: list[Any] = []
        for node in level:
            for child in _containers(node, final):
                if id(child) in seen:
                    shared = True
                else:
                    seen.add(id(child))
                    following.append(child)
        if not following:
            return unshare(root[0]) if shared else root[0]
        level = following
    raise _too_deep()


def _too_deep() -> LimitError:
    return LimitError(f"the pickle is nested deeper than {MAX_DEPTH} levels")


def _containers(node: Any, final: Any) -> list[Any]:
    """Close the children of a container, and return those that are containers themselves."""
    if type(node) is dict and _LEAVES.issuperset(map(type, node.values())):
        return []
    if isinstance(node, dict):
        for key, child in node.items():
            if type(child) not in _LEAVES:
                node[key] = final(child)
        found = [child for child in node.values() if type(child) not in _LEAVES]
        if type(node) is Record:
            node.args, node.appended, node.state = final(node.args), final(node.appended), final(node.state)
            found += [node.args, node.appended, node.state]
    elif type(node) is list:
        for index, child in enumerate(node):
            if type(child) not in _LEAVES:
                node[index] = final(child)
        found = [child for child in node if type(child) not in _LEAVES]
    else:
        found = [child for child in node if type(child) not in _LEAVES]
    return [child for child in found if _counts(child)]


def _counts(node: Any) -> bool:
    """Say whether a value can be shared or nested; as in `unshare`, empty ones and short plain tuples do not."""
    kind = type(node)
    if kind is tuple:
        return len(node) > 16 or not all([type(child) in _LEAVES for child in node])
    return kind is Record or (kind in (dict, list) and bool(node))


class _Finals:
    """The final forms of values; tuples, which cannot be changed in place, are remembered."""

    def __init__(self, replaced: Replaced) -> None:
        self.replaced = replaced
        self.tuples: dict[int, tuple[Any, Any]] = {}

    def final(self, value: Any) -> Any:
        """Return the final form of a value; that of its children is not looked at, except in tuples."""
        value = self._one(value)
        if type(value) is tuple and not all([type(child) in _LEAVES for child in value]):
            return self._tuple(value)
        return value

    def _one(self, value: Any) -> Any:
        for _ in range(4):
            if type(value) is Pending:
                value = value.value
            elif type(value) is Blob:
                return value.value()
            elif isinstance(value, Unfinished):
                return value.finish()
            else:
                known = self.replaced.get(id(value))
                return value if known is None else known[1]
        raise LimitError("a value waits for itself")

    def _tuple(self, root: tuple[Any, ...]) -> Any:
        """Rebuild a tuple, children first, if there is something to replace in it or in the tuples in it."""
        stack = [(root, 0)]
        tuples = self.tuples
        while stack:
            node, depth = stack[-1]
            if id(node) in tuples:
                stack.pop()
                continue
            waiting = [child for child in node if type(child) is tuple and child and id(child) not in tuples]
            if waiting:
                if depth > MAX_DEPTH:
                    raise _too_deep()
                stack.extend([(child, depth + 1) for child in waiting])
                continue
            stack.pop()
            items = [
                child
                if type(child) in _LEAVES
                else tuples[id(child)][1]
                if id(child) in tuples
                else self._one(child)
                for child in node
            ]
            changed = any(new is not old for new, old in zip(items, node, strict=True))
            tuples[id(node)] = node, tuple(items) if changed else node
        return tuples[id(root)][1]
