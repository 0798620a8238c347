"""The members of an optax state that have a meaning, whichever container it was saved in.

An optax state is a tree of named tuples, one for each transformation of a chain, with wrappers around them. On disk
the class names are gone (msgpack, Orbax) or are text (pickle), so that each member is told by its exact set of
fields, which the families of rules and `_WRAPPERS` list. https://optax.readthedocs.io (optax 0.2.8, `optax._src`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from ckpt_core.layouts.values import array_of, value_of
from ckpt_core.optimizers.kinds import states_by_fields
from ckpt_core.tree import Alias, Index, KeyPath, Record, children

__all__ = ["Member", "bare", "count_of", "members", "place_of", "trace_is_last", "trace_is_scaled"]

_WRAPPERS: Final = {
    "inner_state": frozenset({"count", "step", "notfinite_count", "last_finite", "total_notfinite"}),
    "inner_opt_state": frozenset({"mini_step", "gradient_step", "acc_grads", "skip_state"}),
    "fast_state": frozenset({"steps_since_sync"}),
    "base_optimizer_state": frozenset[str](),
    "opt_state": frozenset({"step"}),
}
"""The field that holds the wrapped state, and the counters that the wrapper keeps beside it."""

_MOST: Final = 100_000
_MOST_LOOKED: Final = 10_000
"""Nodes below an unknown member that are looked at for a rule."""


class Member(NamedTuple):
    """One part of an optax state that has a meaning.

    Arguments:
        path: where it is in the state.
        role: "slot", "count", "schedule", "injected" (the count of injected hyperparameters), "hyperparams",
            "accumulated", "wrapper", "mask" (around nothing), "empty" or "other".
        name: of a slot, its neutral name; else the field's name.
        value: the node.
        labels: the labels of the groups around it, from the outside in.
        fields: for slots, counts, schedules and wrappers, the fields of the state that it is one of.
        type_name: the class of that state, where it was saved.
    """

    path: KeyPath
    role: str
    name: str
    value: Any
    labels: tuple[str, ...] = ()
    fields: frozenset[str] = frozenset()
    type_name: str = ""


def members(native: Any) -> Iterator[Member]:
    """Yield the members of an optax state in order, whichever container it was saved in."""
    stack: list[tuple[KeyPath, Any, tuple[str, ...]]] = [((), native, ())]
    looked = 0
    while stack and looked < _MOST:
        path, node, labels = stack.pop()
        looked += 1
        below: list[tuple[KeyPath, Any, tuple[str, ...]]] = []
        for item in _members_of(path, node, labels):
            if isinstance(item, Member):
                yield item
            else:
                below.append(item)
        stack.extend(reversed(below))


def _members_of(path: KeyPath, node: Any, labels: tuple[str, ...]) -> Iterator[Any]:
    """Yield what a node is: members, and (path, node, labels) for the nodes below that are looked into."""
    if _is_empty(node):
        yield Member(path, "empty", "", node, labels)
    elif isinstance(node, (list, tuple)) or (isinstance(node, Mapping) and _is_chain(node)):
        yield from [((*path, key), child, labels) for key, child in children(node) or ()]
    elif not isinstance(node, Mapping):
        yield Member(path, "other", str(path[-1]) if path else "", node, labels)
    elif isinstance(node.get("inner_states"), Mapping):
        inner = node["inner_states"]
        yield from [
            ((*path, "inner_states", key), child, (*labels, str(key))) for key, child in inner.items()
        ]
    elif _fields(node) in states_by_fields():
        yield from _rule(path, node, labels)
    elif "hyperparams" in node and "inner_state" in node:
        yield from _injected(path, node, labels)
    elif set(node) == {"count"}:
        yield Member((*path, "count"), "schedule", "count", node["count"], labels, _fields(node))
    else:
        yield from _wrapped(path, node, labels)


def _rule(path: KeyPath, node: Mapping[str, Any], labels: tuple[str, ...]) -> Iterator[Member]:
    fields = _fields(node)
    keeps = states_by_fields()[fields]
    type_name = node.type_name if isinstance(node, Record) else ""
    for key, value in node.items():
        role = "count" if key == "count" else "other" if key in keeps.scalars else "slot"
        name = keeps.neutral.get(key, key) if role == "slot" else key
        yield Member((*path, key), role, name, value, labels, fields, type_name)


def _injected(path: KeyPath, node: Mapping[str, Any], labels: tuple[str, ...]) -> Iterator[Any]:
    for key, value in node.items():
        if key == "inner_state":
            yield (*path, key), value, labels
        elif key == "hyperparams":
            yield Member((*path, key), "hyperparams", key, value, labels)
        elif key == "hyperparams_states" and isinstance(value, Mapping):
            yield from [((*path, key, name), child, labels) for name, child in value.items()]
        else:
            # An older form keeps one count for the values and the schedules that may be among them.
            role = "injected" if "hyperparams_states" in node else "schedule"
            yield Member((*path, key), role if key == "count" else "other", str(key), value, labels)


def _wrapped(path: KeyPath, node: Mapping[Any, Any], labels: tuple[str, ...]) -> Iterator[Any]:
    inner = next((name for name in _WRAPPERS if name in node), None)
    if set(node) == {"inner_state"} and _is_empty(node["inner_state"]):
        is_group = path[-2:-1] == ("inner_states",)  # set_to_zero of a multi_transform
        yield Member(path, "empty" if is_group else "mask", "", node, labels)
        return
    for key, value in node.items():
        if key == inner or (inner is None and _leads_to_a_rule(value)):
            yield (*path, key), value, labels
        elif inner is not None and key in _WRAPPERS[inner]:
            role = "accumulated" if key == "acc_grads" else "wrapper"
            yield Member((*path, key), role, str(key), value, labels, _fields(node))
        else:
            yield Member((*path, key), "other", str(key), value, labels)


def _leads_to_a_rule(node: Any) -> bool:
    """Whether a member that has no known name (of a `named_chain`, of a wrapper of somebody's own) holds a rule."""
    stack, looked = [node], 0
    while stack and looked < _MOST_LOOKED:
        item = stack.pop()
        looked += 1
        if isinstance(item, Mapping) and (_fields(item) in states_by_fields() or "inner_states" in item):
            return True
        stack += [child for _, child in children(item) or ()]
    return False


def _fields(node: Mapping[Any, Any]) -> frozenset[Any]:
    return frozenset(node)


def _is_chain(node: Mapping[Any, Any]) -> bool:
    """Whether it is a tuple that a container turned into a mapping: its keys are positions."""
    return bool(node) and all(
        (isinstance(key, int) and not isinstance(key, bool)) or (isinstance(key, str) and key.isdecimal())
        for key in node
    )


def _is_empty(node: Any) -> bool:
    return node is None or (isinstance(node, (dict, list, tuple)) and not node)


def trace_is_scaled(found: Iterable[Member]) -> bool | None:
    """Say whether an RMSprop state's momentum is of scaled updates, as the stock function has it; None without one.

    `optax.rmsprop` is (rule, learning rate, trace); `chain(rule, trace, learning rate)` keeps torch's buffer.
    """
    rules = {
        m.path[:-2]: m.path[-2] for m in found if m.role == "slot" and m.name == "nu" and len(m.path) > 1
    }
    for member in found:
        if member.name == "trace" and member.role == "slot" and member.path[:-2] in rules:
            rule, trace = _number(rules[member.path[:-2]]), place_of(member.path)
            if rule is not None and trace is not None:
                return trace - rule > 1
    return None


def trace_is_last(found: Iterable[Member]) -> bool:
    """Say whether a momentum is the last of a chain, after something that may have scaled the updates."""
    order = [m for m in found if m.role in ("slot", "empty", "mask", "schedule") and m.path]
    last = order[-1] if order else None
    is_trace = last is not None and last.fields == {"trace"} and place_of(last.path) is not None
    return is_trace and len(order) > 1


def place_of(path: KeyPath) -> int | None:
    """Return which transformation of its chain keeps the slot or count at a path; None where it stands in no chain."""
    return _number(path[-2]) if len(path) > 1 else None


def _number(key: Any) -> int | None:
    """The position in a chain, which containers write as an index, a number or its text."""
    text = str(key).strip("[]")
    return int(text) if text.isdecimal() else None


def bare(node: Any) -> Any:
    """Take off what NNX puts around each value."""
    value = value_of(node)
    if value is not node:
        return bare(value)
    return {key: bare(child) for key, child in node.items()} if isinstance(node, Mapping) else node


def count_of(value: Any) -> int | None:
    """Return a counter as an int; of one that pmap replicated, the first copy; None where it is none."""
    value = bare(value)
    array = array_of(value)
    if array is not None:
        if array.size < 1 or array.ndim > 1:
            return None
        value = array[:1].reshape(-1)[0] if array.ndim else array.item()
    if isinstance(value, (dict, list, tuple, Alias, Index)):
        return None
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None
