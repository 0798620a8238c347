"""What keeps a state from being translated, whatever its rule: refused with what to do instead."""

from __future__ import annotations

from collections.abc import Collection

from ckpt_core.errors import UnsupportedError, UsageError
from ckpt_core.families import Family
from ckpt_core.optimizers.optax_members import members, trace_is_last
from ckpt_core.optimizers.optax_state import BARE, MASKED, WRAPPED
from ckpt_core.optimizers.state import OptimizerState
from ckpt_core.optimizers.table import known_kinds, torch_rule

__all__ = ["check_known", "check_movable", "check_order", "check_slots", "check_told", "check_whole"]


def check_known(state: OptimizerState) -> None:
    """Refuse a state of which something is not known that a translation needs.

    Raises:
        UsageError: the rule, or the names of the parameters.
        UnsupportedError: there is no one rule, or a slot is no array.
    """
    check_whole(state)
    if len(state.kind) > 1:
        raise UsageError(
            f"the optimizer state fits {len(state.kind)} rules: {', '.join(state.kind)}",
            remedy="Name the one that the run used: kind='...' (--optimizer-kind).",
        )
    _check_arrays(state)


def check_whole(state: OptimizerState) -> None:
    """Refuse a state of which a part goes with no parameter that is known.

    Raises:
        UsageError: the names of the parameters are not known.
        UnsupportedError: there is no known rule, or it is within another one.
    """
    if not state.kind:
        kept = dict.fromkeys([*state.slots, *(path.rpartition("/")[2] for path in state.other)])
        shown = ", ".join([*kept][:8]) + (", ..." if len(kept) > 8 else "")
        raise UnsupportedError(
            f"the optimizer state is of no known rule, or of several at once: it keeps {shown or 'nothing'}",
            remedy=f"Transfer the weights alone, or name the rule, where it is one of these: kind= (--optimizer-kind). Known are: {', '.join(known_kinds(state.framework))}.",
        )
    if WRAPPED in state.notes:
        raise UnsupportedError(
            f"{WRAPPED}, which the other framework does not have",
            remedy="Transfer the weights alone, and start the optimizer anew.",
        )
    if not state.is_named:
        raise UsageError(
            next(iter(state.notes), "the optimizer's parameters are known by position only"),
            remedy="Give their names in the order of the groups (parameter_names=, --parameter-names), or save with optimizers built by named_parameters().",
        )


def _check_arrays(state: OptimizerState) -> None:
    rule = torch_rule(state.kind[0], state.hyperparams) if state.framework == "torch" else None
    if rule is None or rule.is_joint:
        return
    lost = [path for path in state.other if path.rpartition("/")[2] in rule.slots]
    if lost:
        raise UnsupportedError(
            f"{lost[0]} is no array in one piece, as a sparse tensor is none",
            remedy="Make it dense in torch before it is saved: .to_dense().",
        )


def check_movable(state: OptimizerState) -> None:
    """Refuse a state that goes to another model of its own framework and is of no one parameter.

    Raises:
        UnsupportedError: it is one entry for all parameters together.
    """
    rule = torch_rule(state.kind[0], state.hyperparams) if state.framework == "torch" else None
    if rule is not None and rule.is_joint and state.other:
        raise UnsupportedError(
            f"torch's {rule.kind} keeps one state for all parameters together, in their order",
            remedy="Transfer the weights alone, and start the optimizer anew.",
        )


def check_order(state: OptimizerState) -> None:
    """Refuse momentum of which the order of a chain does not say whether it is of scaled updates.

    Raises:
        UnsupportedError: it is the last of its chain.
    """
    if state.kind == ("sgd",) and state.framework == "optax" and trace_is_last(members(state.native)):
        raise UnsupportedError(
            "the momentum is the last of its chain, so that it may be of updates that were scaled before, and torch's is of gradients",
            remedy="Run optax.sgd, or chain(trace, scale_by_learning_rate), where a run is to cross.",
        )


def check_slots(slots: Collection[str], kind: str, family: Family, state: OptimizerState) -> None:
    """Refuse a state that keeps something else than the rule that it is said to be of.

    Raises:
        UnsupportedError: it keeps more, or nothing at all.
    """
    kept = {neutral for rule in family.torch for neutral in rule.slots.values()}
    kept |= {
        keeps.neutral.get(field, field)
        for rule in family.optax
        for keeps in rule.keeps
        for field in keeps.fields
    }
    if set(slots) - kept:
        raise UnsupportedError(
            f"the state keeps {', '.join(sorted(set(slots) - kept))}, which {state.framework}'s {kind} does not",
            remedy="The run used another rule, or several: kind= names one.",
        )
    needs_slots = state.framework == "optax" and family.optax_rule(kind).always_keeps
    if needs_slots and not state.slots:
        raise UnsupportedError(
            f"the state keeps nothing that optax's {kind} keeps",
            remedy="The run used another rule: kind= names it.",
        )


def check_told(state: OptimizerState) -> None:
    """Refuse a translated state whose groups nothing tells: masked weight decay, and rules that keep nothing.

    Raises:
        UsageError: there is such a group; says how to tell.
    """
    remedy = "Pass the torch optimizer with its groups (optimizer=)"
    if MASKED in state.notes and len(state.groups) == 1 and state.groups[0].get("weight_decay"):
        decay = state.groups[0]["weight_decay"]
        raise UsageError(
            f"{MASKED}; its weight decay is {decay!r}",
            remedy=f"{remedy}; without them, weight_decay=0 (--hyperparam weight_decay=0) leaves the decay out.",
        )
    bare = next((note for note in state.notes if note.startswith(BARE)), None)
    if bare is not None and not all(group["params"] for group in state.groups):
        raise UsageError(bare, remedy=f"{remedy}.")
