"""BUILD: a state restored into an object, read as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckpt_core.pickles.constructors import Pending
from ckpt_core.tree import Record

if TYPE_CHECKING:
    from ckpt_core.pickles.machine import Machine

__all__ = ["merge", "restore"]


def merge(record: Record, state: Any) -> None:
    """Restore a state into a Record, in place.

    A dict of attributes becomes the fields, also where slots stand beside it as `(dict or None, slots)`;
    beside entries of a mapping, of an OrderedDict, and in any other form, it is the Record's state.
    """
    attributes = _attributes(state)
    is_mapping = bool(record) or record.type_name == "collections.OrderedDict"
    if attributes is not None and (
        not attributes or not is_mapping or (record.state is not None and not record.state)
    ):
        record.update(attributes)
    elif record.state is None:
        record.state = attributes if attributes is not None else state
    else:
        record.state = (record.state, state)


def _attributes(state: Any) -> dict[Any, Any] | None:
    if type(state) is dict:
        return state if all([type(key) is str for key in state]) else None
    if type(state) is tuple and len(state) == 2:
        first, slots = state
        if type(slots) is dict and (first is None or type(first) is dict):
            merged = {**(first or {}), **slots}
            return merged if all([type(key) is str for key in merged]) else None
    return None


def restore(machine: Machine, pending: Pending, state: Any) -> Any:
    """Finish a value with the state that it waited for; what its constructor cannot read becomes a Record."""
    constructor = pending.constructor
    value: Any = NotImplemented
    if constructor.inline is not None:
        value, position = constructor.inline(pending.value, state, machine.source, machine.position)
        machine.need(position - machine.position)
        machine.pos = position - machine.base
    elif constructor.build is not None:
        value = constructor.build(pending.value, state)
    if value is NotImplemented:
        machine.calls.charge(state if type(state) is tuple else (state,))
        value = Record(pending.name, args=pending.args)
        merge(value, state)
    pending.value = value
    return value
