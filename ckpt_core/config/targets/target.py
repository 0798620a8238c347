"""Target: a config to fill, as a flat list of fields, whatever kinds of objects it is nested of."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ckpt_core.config.targets.base import MISSING, Field, Kind, Member, nested
from ckpt_core.config.targets.config_dict import ConfigDictKind
from ckpt_core.config.targets.kinds import admits_none, class_meant, held_by, kind_of
from ckpt_core.config.targets.plain import MappingKind
from ckpt_core.errors import LimitError

__all__ = ["CLOSED", "OPEN", "Target"]

_MAX_DEPTH: Final = 60

OPEN: Final = object()
"""A group that is there, though its default is None."""

CLOSED: Final = object()
"""A group that is not there: None stands in its place."""


@dataclass
class _Node:
    """One object in a config.

    Arguments:
        kind, type: what it is.
        origin: the object that is copied with changes; None where it is made anew.
        is_new: it is no part of what it is in as yet.
        groups: the objects in it, by key.
    """

    kind: Kind
    type: type
    origin: Any
    is_new: bool = False
    groups: dict[Any, _Node] = field(default_factory=dict)


class Target:
    """A config to fill.

    Arguments:
        into: the object, or the class.
        kind: what it is.
        explicit: names of fields and groups whose values in the instance were given.
        groups: for names of groups: OPEN, CLOSED, or the object to take in place of the one that is there.

    Attributes:
        title: how messages call it: "SlotConfig", "the Namespace".
        fields: by dotted name, in order.
        groups: the names of the groups that are there.
        optional: those, there or not, in whose place None may stand; False for one whose value was given.
        is_open: it takes entries that are no fields, too.
        tells_defaults: of its values it is known which were given and which are defaults.
        spellings: field to the name under which its library writes and reads it.
        keys: of an open target, the keys that lead to a new field, where they are not the parts of its name.
    """

    def __init__(
        self, into: Any, kind: Kind, explicit: Collection[str] = (), groups: Mapping[str, Any] | None = None
    ) -> None:
        self._into, self._kind, self._explicit = into, kind, frozenset(explicit)
        self._decided = dict(groups or {})
        self.title = kind.title(into if isinstance(into, type) else type(into))
        self.fields: dict[str, Field] = {}
        self.optional: dict[str, bool] = {}
        self.groups: dict[str, None] = {}
        self.spellings: dict[str, tuple[str, ...]] = {}
        self.keys: dict[str, tuple[Any, ...]] = {}
        self._owners: dict[str, tuple[_Node, Any]] = {}
        is_class = isinstance(into, type)
        self._root = _Node(kind, into if is_class else type(into), None if is_class else into)
        self._walk(self._root, self._root.origin, MISSING, "")
        self.is_open = isinstance(kind, MappingKind) or (not kind.tells_defaults and not self.fields)
        self.tells_defaults = kind.tells_defaults or bool(self._explicit)

    def with_groups(self, groups: Mapping[str, Any]) -> Target:
        """Return the target with more of its groups decided."""
        return Target(self._into, self._kind, self._explicit, {**self._decided, **groups})

    def takes(self, name: str) -> bool:
        """Say whether an object that is not open has a place for an entry that is no field of it."""
        node, _ = self._place(tuple(name.split(".")))
        return node.kind.takes_others(node.type)

    def make(self, changes: Mapping[str, Any]) -> Any:
        """Return a new object with some fields set, the others at their default or as in the instance."""
        values: dict[int, dict[Any, Any]] = {}
        new: dict[int, dict[tuple[Any, ...], Any]] = {}
        for name, value in changes.items():
            if name in self._owners:
                node, key = self._owners[name]
                values.setdefault(id(node), {})[key] = value
            else:
                node, keys = self._place(tuple(self.keys.get(name) or name.split(".")))
                new.setdefault(id(node), {})[keys] = value
        return self._made(self._root, values, new)

    def _made(self, node: _Node, values: dict[int, dict[Any, Any]], new: dict[int, Any]) -> Any:
        own = dict(values.get(id(node), {}))
        for key, child in node.groups.items():
            made = self._made(child, values, new)
            if child.is_new or made is not child.origin:
                own[key] = made
        added = new.get(id(node), {})
        if isinstance(node.kind, ConfigDictKind):
            own.update(added)
        elif added:
            names = {".".join(map(str, keys)): keys for keys in added}
            own.update(nested({name: added[keys] for name, keys in names.items()}, names))
        if node is not self._root and node.origin is not None and not own:
            return node.origin
        return node.kind.made(node.type, node.origin, own)

    def _place(self, keys: tuple[Any, ...]) -> tuple[_Node, tuple[Any, ...]]:
        """The innermost object that the keys of something new lead into, and the rest of them."""
        node = self._root
        while len(keys) > 1 and keys[0] in node.groups:
            node, keys = node.groups[keys[0]], keys[1:]
        return node, keys

    # The fields.

    def _walk(self, node: _Node, instance: Any, base: Any, prefix: str) -> None:
        if prefix.count(".") > _MAX_DEPTH:
            raise LimitError("is too deeply nested for a config", place=prefix[:100])
        for member in node.kind.members(node.type, instance, base):
            name = f"{prefix}{member.name}"
            is_explicit = instance is not None and self._is_explicit(name)
            is_given = member.is_given or is_explicit
            if member.spelling:
                self.spellings[name] = (f"{prefix}{member.spelling}", member.spelling)
            group = _group_in(member, node.kind)
            if group is not None and self._is_there(name, member, is_given):
                self._enter(node, member, name, group)
                continue
            is_held = member.default is MISSING and not is_given
            default = member.value if is_held else member.default
            self._owners[name] = node, member.key
            self.fields[name] = Field(
                name, member.annotation, default, member.present if is_given else MISSING
            )

    def _enter(self, node: _Node, member: Member, name: str, group: type) -> None:
        decided = self._decided.get(name, OPEN)
        if decided is not OPEN:  # an object in place of the one that is there
            group, instance, base = type(decided), decided, MISSING
            self._explicit |= {name}
        else:
            instance = member.value if isinstance(member.value, group) else None
            base = member.default if isinstance(member.default, group) else MISSING
        origin = None if instance is None and base is MISSING else base if instance is None else instance
        self.groups[name] = None
        kind = kind_of(group)
        assert kind is not None
        child = _Node(kind, group, origin, is_new=origin is None or decided is not OPEN)
        node.groups[member.key] = child
        self._walk(child, instance, base, f"{name}.")

    def _is_there(self, name: str, member: Member, is_given: bool) -> bool:
        """Whether a group is there; takes down that it need not be as it is."""
        is_optional = admits_none(member.annotation) or member.default is None or member.present is None
        if is_optional:
            self.optional[name] = not is_given
        if name in self._decided:
            return self._decided[name] is not CLOSED
        return member.present is not None and (member.present is not MISSING or not is_optional)

    def _is_explicit(self, name: str) -> bool:
        return any(name == one or name.startswith(f"{one}.") for one in self._explicit)


def _group_in(member: Member, around: Kind) -> type | None:
    """The class of the object that a member is or may be; None where it is a plain value.

    A dict in an object of a class is one value, which the class declares; in a dict or a Namespace it is a group.
    """
    held = None if member.present is MISSING else held_by(member.present)
    if held is None:
        return class_meant(member.annotation)
    if not held or (isinstance(member.present, Mapping) and around.tells_defaults):
        return None
    return type(member.present)
