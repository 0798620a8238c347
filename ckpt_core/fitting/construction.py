"""Containers under construction: what stands for tuples, states and left-out values while a tree is fitted."""

from __future__ import annotations

from typing import Any, Final

from ckpt_core.tree import Part, Record, children

__all__ = ["OMITTED", "Omitted", "StateOf", "UnfinishedTuple", "close_tuples"]


class Omitted:
    """Stands for a value that has no native form at all."""


OMITTED: Final = Omitted()


class StateOf:
    """The place of a Record's state, filled like a container."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def __setitem__(self, _: Any, value: Any) -> None:
        self.record.state = value

    def pop(self, *_: Any) -> None:
        self.record.state = None


class UnfinishedTuple(list[Any]):
    """A tuple under construction."""


def close_tuples(tree: Any) -> Any:
    """Turn the tuples under construction into tuples, keeping shared containers shared."""
    made: dict[int, Any] = {}
    stack: list[tuple[Any, bool]] = [(tree, False)]
    seen: set[int] = set()
    while stack:
        node, is_second = stack.pop()
        if not isinstance(node, (dict, list)):
            continue
        if not is_second:
            if id(node) in seen:
                continue
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((child, False) for _, child in children(node) or ())
            continue
        for key, child in children(node) or ():
            if id(child) not in made:
                continue
            if isinstance(node, Record) and isinstance(key, Part):
                node.state = made[id(child)]
            else:
                node[key] = made[id(child)]
        if isinstance(node, UnfinishedTuple):
            made[id(node)] = tuple(node)
    return made.get(id(tree), tree)
