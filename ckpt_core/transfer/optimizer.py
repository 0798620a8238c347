"""Carrying an optimizer along: translated, moved with the weights, and written as the other framework has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UnsupportedError, UsageError
from ckpt_core.framework import Template
from ckpt_core.keypath import join_name
from ckpt_core.optimizers import OptimizerState, identified
from ckpt_core.optimizers.checking import check_told, check_whole
from ckpt_core.optimizers.grouping import in_groups, settings_of, settled
from ckpt_core.optimizers.leaving import left_behind, live_notes
from ckpt_core.optimizers.optax_build import optax_native
from ckpt_core.optimizers.optax_fill import optax_filled
from ckpt_core.optimizers.suggest import Suggestion, suggestion_for
from ckpt_core.optimizers.table import torch_rule
from ckpt_core.optimizers.torch_state import torch_native
from ckpt_core.optimizers.translate import translated
from ckpt_core.transfer.live_torch import LiveTorch, told_by, with_first_state
from ckpt_core.transfer.plan import TransferPlan
from ckpt_core.transfer.slots import moved_state
from ckpt_core.tree import map_with_path

__all__ = ["Carried", "carry"]


@dataclasses.dataclass(frozen=True)
class Carried:
    """An optimizer's state on the other side.

    Arguments:
        state: the state in the target's conventions, under the target's names; `native` is the structure that the
            target's framework loads.
        suggestion: the constructor whose update continues it; None where it is of optax on both sides, and the caller
            has it.
    """

    state: OptimizerState
    suggestion: Suggestion | None


def carry(
    state: OptimizerState,
    plan: TransferPlan,
    sources: Mapping[str, LazyArray],
    template: Template,
    params: Any,
    *,
    kind: str | None = None,
    hyperparams: Mapping[str, Any] | None = None,
    step: int | None = None,
    counted: int | None = None,
    schedule: Any = None,
    clip: float | None = None,
    live: Any = None,
) -> Carried:
    """Translate a state into the target's framework, and move it with its parameters.

    Arguments:
        state: the source's state, its parameters named as `sources` are.
        plan: the plan that was applied to the weights.
        sources: the source's arrays by name.
        template: what the target expects; its framework decides what the state becomes.
        params: the target's tree of parameters; an optax state's slots are trees of its form.
        kind, hyperparams, step: see `translate_optimizer`.
        counted: the checkpoint's own count of steps, for rules that keep none.
        schedule, clip: see `suggestion_for`.
        live: the structure to fill: a torch optimizer, or the tree of an optax state.

    Raises:
        UsageError: the target's framework is not known; or see `translate_optimizer`.
        UnsupportedError: the state cannot be translated or moved; says why.
    """
    to = {"torch": "torch", "flax": "optax"}.get(template.framework)
    if to is None:
        raise UsageError(
            "the target does not say which framework it is of", remedy="Pass a model, or to='flax'."
        )
    if step is None and state.step is None:
        step = 0 if _counts_itself(state, kind) else counted
    if to == state.framework == "optax" and live is not None:
        return _into(live, identified(state, kind=kind), plan, sources, template)
    telling = live if isinstance(live, LiveTorch) and hyperparams is None and not _says(state) else None
    if telling is not None:
        at_home = moved_state(identified(state, kind=kind), plan, sources, template)
        told = dataclasses.replace(told_by(telling, at_home), native=state.native)
        moved = settled(translated(told, to, step=step))
    else:
        made = translated(state, to, kind=kind, hyperparams=hyperparams, step=step)
        check_told(made)
        moved = settled(moved_state(made, plan, sources, template))
    moved = _with_newcomers(moved, template)
    moved = dataclasses.replace(moved, notes=(*moved.notes, *_dtype_notes(moved, template)))
    suggestion = suggestion_for(moved, schedule=schedule, clip=clip)
    if to == "torch":
        if isinstance(live, LiveTorch):
            _check_kind(live, moved)
            moved = in_groups(moved, live.names, None if telling is None else telling.settings)
        moved = with_first_state(moved, template)
        native: Any = torch_native(moved)
    elif live is None:
        native = optax_native(moved, suggestion.recipe, params)
    else:
        filled = optax_filled(moved, live)
        native = map_with_path(filled.get, live)
        moved = dataclasses.replace(moved, notes=(*moved.notes, *live_notes(live, suggestion.recipe, filled)))
    return Carried(dataclasses.replace(moved, native=native), suggestion)


def _into(
    live: Any,
    state: OptimizerState,
    plan: TransferPlan,
    sources: Mapping[str, LazyArray],
    template: Template,
) -> Carried:
    """An optax state in another structure of optax's, whose constructor the caller has."""
    check_whole(state)
    moved = moved_state(state, plan, sources, template)
    filled = optax_filled(moved, live)
    notes = (*moved.notes, *left_behind(state, "optax"), *live_notes(live, None, filled))
    return Carried(dataclasses.replace(moved, native=map_with_path(filled.get, live), notes=notes), None)


def _says(state: OptimizerState) -> bool:
    """Whether a state holds hyperparameters; optax's do where they were injected."""
    held = [name for row in (state.hyperparams, *state.groups) for name in settings_of(row)]
    return state.framework == "torch" or any(name != "trace_is_scaled" for name in held)


def _counts_itself(state: OptimizerState, kind: str | None) -> bool:
    """Whether a torch rule would hold the number of updates, had there been any; the run's own count is another."""
    if state.framework != "torch":
        return False
    rules = [torch_rule(name, state.hyperparams) for name in ((kind,) if kind else state.kind)]
    return any(rule is not None and rule.has_step for rule in rules)


def _check_kind(live: LiveTorch, state: OptimizerState) -> None:
    if live.kind and live.kind not in state.kind:
        raise UnsupportedError(
            f"the optimizer is {live.kind}, and the state goes on with {', '.join(state.kind)}",
            remedy="suggest_optimizer(state) gives one that does.",
        )


def _dtype_notes(state: OptimizerState, template: Template) -> list[str]:
    """Slots of another precision than their parameters: torch and optax each keep them so by different settings."""
    dtypes = {slot.name: slot.spec.dtype for slot in template.slots}
    found: dict[tuple[str, str, str], int] = {}
    for slot, arrays in state.flat_slots().items():
        for name, array in arrays.items():
            own = dtypes.get(name, array.dtype)
            if array.ndim and array.dtype != own:
                found[slot, array.dtype, own] = found.get((slot, array.dtype, own), 0) + 1
    return [
        f"{slot} is {ours} for {count:,} parameters of {own}: load_state_dict of torch makes it {own}, and a run that keeps it otherwise parts by its rounding"
        for (slot, ours, own), count in found.items()
    ]


def _with_newcomers(state: OptimizerState, template: Template) -> OptimizerState:
    """Put parameters that have no source into the first group, with slots as at the beginning."""
    known = {name for group in state.groups for name in group["params"]}
    own = [slot for slot in template.slots if slot.role != "buffer" and slot.tied is None]
    order = {join_name(slot.path): i for i, slot in enumerate(own)}
    new = [name for name in order if name not in known]
    groups = [dict(group) for group in state.groups]
    if not groups:
        groups = [{**state.hyperparams, "kind": state.kind[0], "params": ()}]
    notes = state.notes
    if new and state.framework == "optax":
        groups[0]["params"] = (*groups[0]["params"], *new)
        notes = (
            *notes,
            f"{len(new):,} parameters have no optimizer state, and begin with an empty one: {', '.join(new[:4])}",
        )
    elif len(groups) == 1 and not groups[0]["params"]:
        groups[0]["params"] = tuple(new)  # a rule that keeps nothing names nobody: it updates all
    elif new:
        shown = ", ".join(new[:4])
        notes = (*notes, f"{len(new):,} parameters have no optimizer state, and are in no group: {shown}")
    is_home = state.home is not None and state.home.framework == state.framework
    for group in groups if not is_home else ():
        group["params"] = tuple(sorted(group["params"], key=lambda name: order.get(name, len(order))))
    return dataclasses.replace(state, groups=tuple(groups), notes=notes)
