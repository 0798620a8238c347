"""Which update rules can have written a state: by what it keeps, and by the settings that stand beside it.

The names are the lower-case names of torch's classes and of optax's functions. `torch_...` are the transformations
of `ckpt_flax.transforms`, which keep an optax state and update as torch does.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple

from ckpt_core.families import Keeps
from ckpt_core.optimizers.table import optax_rules, torch_rules

__all__ = ["StateSeen", "named_in", "optax_kinds", "states_by_fields", "torch_kinds", "torch_slots"]

_TRACE: Final = frozenset({"trace"})
_CONFIG_KEYS: Final = ("optimizer", "optim", "opt", "optimizer_name", "optimizer_type", "optimizer_class")


class StateSeen(NamedTuple):
    """What a file shows of the state of one optax transformation.

    Arguments:
        fields: the names of its fields.
        type_name: the class that it was saved under, or "".
        place: which transformation of its chain it is of; None where it stands in no chain.
    """

    fields: frozenset[str]
    type_name: str = ""
    place: int | None = None


def torch_kinds(names: AbstractSet[str], settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the rules that keep these torch slots under these settings of a group."""
    fits = [rule for rule in torch_rules() if rule.fits(names, settings)]
    told = [rule for rule in fits if rule.is_marked(settings)]
    return _distinct(rule.kind for rule in told or fits)


def torch_slots(kinds: tuple[str, ...]) -> dict[str, str]:
    """Return the neutral names of what torch keeps for a parameter: of these rules, else of any."""
    found: dict[str, str] = {}
    for rule in sorted(torch_rules(), key=lambda rule: rule.kind not in kinds):
        for name, neutral in rule.slots.items():
            found.setdefault(name, neutral)
    return found


@functools.cache
def states_by_fields() -> Mapping[frozenset[str], Keeps]:
    """Return the optax states that hold slots, by their set of fields; of several, the first."""
    found: dict[frozenset[str], Keeps] = {}
    for rule in optax_rules():
        for keeps in rule.keeps:
            found.setdefault(frozenset(keeps.fields), keeps)
    return found


def optax_kinds(states: Iterable[StateSeen]) -> tuple[str, ...]:
    """Return the rules that keep these optax states."""
    seen = list(states)
    rules = [
        state for state in seen if state.fields != _TRACE
    ] or seen  # beside a rule a trace is its momentum
    main = [_candidates(state) for state in rules]
    if ("muon",) in main and any("adam" in kinds for kinds in main):
        return ("muon",)  # optax.contrib.muon leaves what is no matrix to adam
    return main[0] if main and all(kinds == main[0] for kinds in main) else ()


def _candidates(state: StateSeen) -> tuple[str, ...]:
    """The rules that keep a state like this; its class, where it was saved, tells more."""
    rules = [
        (rule.kind, keeps)
        for rule in optax_rules()
        for keeps in rule.keeps
        if set(keeps.fields) == state.fields and rule.place in (None, state.place)
    ]
    class_name = state.type_name.rpartition(".")[2]
    told = [kind for kind, keeps in rules if keeps.class_name == class_name]
    return _distinct(told or [kind for kind, _ in rules])


def _distinct(kinds: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(kinds))


def named_in(config: Mapping[str, Any], kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Return the candidate that a saved config names, or all of them where it names none."""
    for key in _CONFIG_KEYS:
        value = config.get(key)
        if isinstance(value, Mapping):
            value = value.get("name", value.get("type"))
        if isinstance(value, str):
            name = value.rsplit(".", 1)[-1].lower().replace("_", "")
            found = tuple(kind for kind in kinds if kind.replace("_", "") == name)
            if found:
                return found
    return kinds
