"""optax states as neutral states, and a neutral state put into an optax state.

An optax state is a tree of named tuples, one for each transformation of a chain, with wrappers around them. On disk
the class names are gone (msgpack, Orbax) or are text (pickle), so that each member is told by its exact set of
fields, which the families of rules and `_WRAPPERS` list. https://optax.readthedocs.io (optax 0.2.8, `optax._src`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from ckpt_core.arrays import LazyArray
from ckpt_core.keypath import join_name
from ckpt_core.layouts.values import array_of, is_plain, number
from ckpt_core.optimizers.kinds import optax_kinds, states_by_fields
from ckpt_core.optimizers.state import OptimizerState
from ckpt_core.tree import Alias, Index, KeyPath, Record, children, render_path
from ckpt_core.view import named_weights, nest

__all__ = ["BARE", "MASKED", "WRAPPED", "Member", "count_of", "members", "read_optax", "trace_is_scaled"]

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


_AROUND: Final = frozenset({"fast_state", "base_optimizer_state"})
"""Of the wrappers, those that make another rule of the one that they hold."""

WRAPPED: Final = "the rule is within another one (lookahead, schedule_free, mechanic or the like)"
"""The note of a state whose rule is a part of another."""

BARE: Final = (
    "groups that keep nothing for their parameters, so that the state does not say which they update"
)
"""What the note of a state begins with where a group's rule has no slots (plain SGD)."""

MASKED: Final = (
    "a part of the rule is for some parameters alone (masked), and the state does not say for which"
)
"""The note of a state whose weight decay has a mask."""


class Member(NamedTuple):
    """One part of an optax state that has a meaning.

    Arguments:
        path: where it is in the state.
        role: "slot", "count", "schedule", "hyperparams", "accumulated", "wrapper", "mask" (around nothing), "empty" or
            "other".
        name: of a slot, its neutral name; else the field's name.
        value: the node.
        labels: the labels of the groups around it, from the outside in.
        fields: for slots and counts, the fields of the state that it is one of.
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
        yield Member((*path, "count"), "schedule", "count", node["count"], labels)
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
            yield Member((*path, key), "schedule" if key == "count" else "other", str(key), value, labels)


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
            yield Member((*path, key), role, str(key), value, labels)
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
            places = [str(key) for key in (rules[member.path[:-2]], member.path[-2])]
            places = [place.strip("[]") for place in places]
            if all(place.isdecimal() for place in places):
                return int(places[1]) - int(places[0]) > 1
    return None


# Reading.


def read_optax(native: Any) -> OptimizerState:
    """Read an optax state, or an `nnx.Optimizer`'s: chains, masks, groups, accumulation and injected values included.

    Arguments:
        native: the state, as Orbax, msgpack or a pickle holds it.
    """
    found = _Found()
    every = list(members(native))
    for member in every:
        found.take(member)
    slots = {name: nest(pairs) for name, pairs in found.slots.items()}
    groups = tuple(
        {**found.hyperparams.get(label, {}), "params": tuple(names), "label": label}
        for label, names in found.groups.items()
    )
    hyperparams = dict(next(iter(found.hyperparams.values()), {}))
    scaled = trace_is_scaled(every)
    if scaled is not None:
        hyperparams["trace_is_scaled"] = scaled
    steps = found.steps()
    counts = list(found.counts.values())
    step = max(counts, default=found.schedule if found.schedule is not None else found.outer)
    differ = len(set(steps.values())) > 1
    notes = ["the members of the state count different numbers of updates"] if differ else []
    notes += [note for note, holds in ((MASKED, found.is_masked), (WRAPPED, found.is_wrapped)) if holds]
    if bare := found.bare_groups():
        notes.append(f"{BARE}: {', '.join(bare)}")
    schedule = None if found.schedule is None else {"count": found.schedule}
    return OptimizerState(
        optax_kinds(found.states),
        hyperparams,
        step,
        slots,
        groups if len(groups) > 1 or (groups and groups[0]["label"]) else (),
        schedule,
        native,
        "optax",
        steps if differ else {},
        found.other,
        tuple(notes),
    )


class _Found:
    """What the members add up to."""

    def __init__(self) -> None:
        self.slots: dict[str, list[tuple[tuple[str, ...], LazyArray]]] = {}
        self.named: dict[str, set[tuple[str, ...]]] = {}
        self.groups: dict[str, dict[str, None]] = {}
        self.counts: dict[KeyPath, int] = {}
        self.members: dict[KeyPath, set[str]] = {}
        self.schedule: int | None = None
        self.outer: int | None = None
        self.hyperparams: dict[str, dict[str, Any]] = {}
        self.states: list[tuple[frozenset[str], str]] = []
        self.other: dict[str, Any] = {}
        self.is_masked = False
        self.is_wrapped = False
        self.empties: dict[str, int] = {}
        self._last_state: KeyPath | None = None

    def take(self, member: Member) -> None:
        label = "/".join(member.labels)
        if member.labels:
            self.groups.setdefault(label, {})
        self.is_wrapped |= bool(_AROUND & set(member.path))
        if member.role in ("slot", "count"):
            self._state(member)
        if member.role == "slot":
            self._slot(member, label)
        elif member.role == "count":
            count = count_of(member.value)
            if count is None:
                self.other[render_path(member.path)] = member.value
            else:
                self.counts[member.path[:-1]] = count
        elif member.role == "schedule":
            count = count_of(member.value)
            self.schedule = self.schedule if count is None else max(count, self.schedule or 0)
        elif (
            member.role == "hyperparams"
            and isinstance(member.value, Mapping)
            and is_plain(_bare(member.value))
        ):
            self.hyperparams[label] = {str(k): number(v) for k, v in _bare(member.value).items()}
        elif member.role == "wrapper" and member.name in ("step", "gradient_step"):
            self.outer = count_of(member.value)
            self.other[render_path(member.path)] = member.value
        elif member.role == "mask":
            self.is_masked = True
        elif member.role == "empty":
            self.empties[label] = self.empties.get(label, 0) + 1
        else:
            self.other[render_path(member.path)] = member.value

    def _state(self, member: Member) -> None:
        if member.path[:-1] != self._last_state:
            self._last_state = member.path[:-1]
            self.states.append((member.fields, member.type_name))

    def _slot(self, member: Member, label: str) -> None:
        pairs = [(segments, array) for segments, array, _ in named_weights(member.value, [()])]
        name, number_ = member.name, 2
        while self.named.get(name, set()) & {segments for segments, _ in pairs}:
            name, number_ = (
                f"{member.name}_{number_}",
                number_ + 1,
            )  # a second state of the same fields in one chain
        self.slots.setdefault(name, []).extend(pairs)
        self.named.setdefault(name, set()).update(segments for segments, _ in pairs)
        names = {join_name(segments): None for segments, _ in pairs}
        self.members.setdefault(member.path[:-1], set()).update(names)
        if member.labels:
            self.groups[label].update(names)

    def bare_groups(self) -> list[str]:
        """The groups whose rule moves parameters and keeps nothing: a chain of more than one member."""
        return [label for label, names in self.groups.items() if not names and self.empties.get(label, 0) > 1]

    def steps(self) -> dict[str, int]:
        """The number of updates of each parameter: the count of the state that its slots are in."""
        return {
            name: count for path, count in self.counts.items() for name in sorted(self.members.get(path, ()))
        }


def _bare(node: Any) -> Any:
    """Take off what NNX puts around each value."""
    if isinstance(node, Mapping):
        return (
            _bare(node["value"])
            if set(node) == {"value"}
            else {key: _bare(child) for key, child in node.items()}
        )
    return node


def count_of(value: Any) -> int | None:
    """Return a counter as an int; of one that pmap replicated, the first copy; None where it is none."""
    value = _bare(value)
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
