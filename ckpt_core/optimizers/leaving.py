"""What a state has, or does not say, that the run on the other side goes without: a sentence each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from ckpt_core.families import Call, Part
from ckpt_core.optimizers.grouping import settings_of
from ckpt_core.optimizers.optax_build import shape_of
from ckpt_core.optimizers.optax_members import Member, count_of, members
from ckpt_core.optimizers.state import OptimizerState
from ckpt_core.optimizers.table import family_of, torch_rule
from ckpt_core.tree import KeyPath

__all__ = ["chain_notes", "frozen_note", "left_behind", "live_notes"]

_OF_SCHEDULERS: Final = frozenset(
    ["initial_lr", "swa_lr", "min_lr", "max_lr", "base_momentum", "max_momentum"]
)
"""What torch's schedulers keep in the groups of their optimizer."""

_UNDERSTOOD: Final = frozenset({"acc_grads", "gradient_step", "ns_coeffs"})
"""Members of optax states that other sentences are about."""

_BARE: Final = "with nothing in the state, which does not say what is done there (a limit on gradients, added weight decay, another scale)"


def left_behind(state: OptimizerState, framework: str) -> Iterator[str]:
    """Yield what has no place in the state of an optimizer of a framework."""
    if state.framework != framework:
        yield from _of_torch(state) if state.framework == "torch" else _of_optax(state)
    names: dict[str, list[str]] = {}
    for path in state.other:
        parent, _, name = path.rpartition("/")
        if name not in _UNDERSTOOD and name != "mini_step":
            names.setdefault(parent, []).append(name)
    for parent, found in names.items():
        where = f"{parent} ({', '.join(found)})" if parent else ", ".join(found)
        yield f"{where} has no place on the other side, and the run goes on without it"


def _of_torch(state: OptimizerState) -> Iterator[str]:
    rule = torch_rule(state.kind[0], state.hyperparams)
    if rule is None:
        return
    if not rule.has_step and not state.step:
        yield f"torch's {state.kind[0]} keeps no step: the count begins at 0 where none is given"
    strange: dict[str, Any] = {}
    for group in state.groups:
        known = rule.defaults.keys() | _OF_SCHEDULERS
        strange |= {key: value for key, value in settings_of(group).items() if key not in known}
        if group.get("max_momentum") is not None:
            yield "the scheduler moves the momentum, too, which stays where it is"
    if rule.defaults and strange:
        told = ", ".join(f"{key}={value!r}"[:60] for key, value in strange.items())
        yield f"settings that torch's own {state.kind[0]} does not have are not followed: {told}"


def _of_optax(state: OptimizerState) -> Iterator[str]:
    if state.schedule is not None and not (state.home is not None and state.home.schedulers):
        at = state.schedule.get("count")
        yield f"the learning rate follows a schedule, which is not in the state, and stands at {at}: give torch a scheduler of the same function"
    for path, value in state.other.items():
        done = count_of(value) if path.rpartition("/")[2] == "mini_step" else None
        if done is not None:
            yield "an update is made of the gradients of several steps (MultiSteps), of how many the state does not say: accumulate as many on the other side"
        if done:
            yield f"saved after {done} steps of accumulation: the gradients accumulated so far are left behind"


def frozen_note(names: Sequence[str]) -> str:
    """Return the sentence on parameters that were never updated."""
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"{len(names):,} parameters had no gradient so far, and are not updated on the other side: {shown}"


# The chain around the rule of an optax state.


def chain_notes(native: Any, parts: Sequence[tuple[str, Part]]) -> Iterator[str]:
    """Yield how the chain of an optax state differs from the one that its hyperparameters make.

    Arguments:
        native: the state as it was saved.
        parts: the parts of it with all of their hyperparameters, each with the label of its group, or "".
    """
    found = _bare_members(members(native))
    expected: dict[str, int] = {"": 0}
    decays: set[str] = set()
    for label, part in parts:
        expected[label] = max(expected.get(label, 0), _bare_calls(_recipe(part)))
        decays |= (
            {label} if part.hyperparams.get("weight_decay") or part.hyperparams.get("dampening") else set()
        )
    if not found.keys() <= expected.keys():
        return  # its groups are told by something else than its own structure
    for label in sorted(found):
        extra = found[label] - expected[label]
        where = f" of {label}" if label else ""
        if extra > 0:
            more = "1 member" if extra == 1 else f"{extra} members"
            yield f"the chain{where} has {more} more than the rule, {_BARE}: the run goes on without"
        elif extra < 0 and label in decays:
            yield f"the chain{where} has fewer members than a rule with weight decay or dampening has: was the run made with it?"


def live_notes(like: Any, recipe: Call | None, filled: Iterable[KeyPath]) -> Iterator[str]:
    """Yield how an optax state that is filled differs from the one of the constructor that is suggested.

    Arguments:
        like: the tree of the state.
        recipe: the constructor, if there is one.
        filled: the paths that were filled.
    """
    every = list(members(like))
    found = sum(_bare_members(every).values())
    if recipe is not None and 0 < found < _bare_calls(recipe):
        yield "the optimizer has fewer members than the one that is suggested: does it have the same weight decay, and the same order?"
    done = {path[:n] for path in filled for n in range(len(path) + 1)}
    anew = [
        m for m in every if m.role in ("other", "wrapper") and m.path not in done and m.name != "ns_coeffs"
    ]
    if anew:
        yield f"what the optimizer keeps beside its rule begins anew: {', '.join(dict.fromkeys(m.name for m in anew))}"


def _recipe(part: Part) -> Call:
    family = family_of(part.kind, "optax", part.hyperparams)
    assert family is not None
    recipe = family.optax_recipe(part.kind, part.hyperparams)
    return (
        Call("optax.chain", (Call("optax.scale", (-1.0,)), recipe))
        if part.hyperparams.get("maximize")
        else recipe
    )


def _bare_members(found: Iterable[Member]) -> dict[str, int]:
    """How many transformations keep nothing or a schedule's count, by label."""
    counts: dict[str, int] = {}
    for member in found:
        is_scale = member.role == "schedule" and member.fields == {"count"}
        if member.role in ("empty", "mask") or (is_scale and "hyperparams_states" not in member.path):
            label = "/".join(member.labels)
            counts[label] = counts.get(label, 0) + 1
    return counts


def _bare_calls(call: Call) -> int:
    if call.function == "optax.chain":
        return sum(map(_bare_calls, call.args))
    if call.function == "optax.multi_transform":
        return sum(map(_bare_calls, call.args[0].values()))
    shape, _ = shape_of(call)
    parts = shape if isinstance(shape, tuple) else (shape,)
    return sum(set(keeps.fields) <= {"inner_state"} or keeps.fields == ("count",) for keeps in parts)
