"""A training run carried over whole: weights, optimizer, step, schedule, averaged copies, and what is only kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UsageError
from ckpt_core.framework import Framework, Template
from ckpt_core.optimizers import OptimizerState, describe, read_optimizer
from ckpt_core.optimizers.schedules import Schedule
from ckpt_core.optimizers.table import family_of
from ckpt_core.registry import registry
from ckpt_core.schema import Checkpoint
from ckpt_core.transfer.arranging import flax_tree, torch_tree
from ckpt_core.transfer.averages import averaged_copies
from ckpt_core.transfer.live_torch import LiveTorch
from ckpt_core.transfer.optimizer import Carried, carry
from ckpt_core.transfer.plan import TransferPlan
from ckpt_core.transfer.scheduling import scheduled
from ckpt_core.transfer.sides import Target, arranged
from ckpt_core.tree import Record

__all__ = ["OptimizerRequest", "Training", "training_of"]


@dataclass(frozen=True)
class OptimizerRequest:
    """How an optimizer is to be carried.

    Arguments:
        live: the optimizer (torch) or its state (optax, `nnx.Optimizer`) whose structure is filled; without one, that
            of the constructor which `suggest_optimizer` proposes. A torch one also names the rule and the
            hyperparameters of an optax state, which holds none.
        kind: the rule that wrote the state, where it allows several.
        hyperparams: what the state does not say, in the names of the framework that wrote it.
        name: which of several saved optimizers is meant.
        parameters: the names of torch's parameters in the order of the groups, where the file does not tell them.
        step: the number of updates that were made, where the file does not tell it.
    """

    live: Any = None
    kind: str | None = None
    hyperparams: Mapping[str, Any] | None = None
    name: str | None = None
    parameters: Sequence[str] | None = None
    step: int | None = None


@dataclass(frozen=True)
class Training:
    """A training state in the target's framework.

    Arguments:
        tree: as `save_checkpoint` arranges it.
        carried: the optimizer.
        attributes: what the tree does not say of the optimizer.
        notes: what was left behind, or is only kept.
    """

    tree: Any
    carried: Carried
    attributes: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def training_of(
    ckpt: Checkpoint,
    plan: TransferPlan,
    sources: Mapping[str, LazyArray],
    target: Target,
    arrays: Mapping[str, LazyArray],
    request: OptimizerRequest,
    like: Any = None,
) -> Training:
    """Carry over what a checkpoint holds of a training run.

    Arguments:
        ckpt: the source.
        plan: the plan that was applied to its weights.
        sources: its weights by name.
        target: what was filled.
        arrays: the filled slots by name.
        request: how the optimizer is carried.
        like: the live model that is the target, where it is one.

    Raises:
        UsageError: there is no optimizer state, or several and none is named; or see `carry`.
        UnsupportedError: the state cannot be carried; says why.
    """
    state = _chosen(ckpt, request.name)
    native = state.native
    if request.parameters is not None:
        state = _named(state, request.parameters, sources)
    template = target.template
    tree = target.filled(arrays)
    counted = ckpt.step if request.step is None else request.step
    if request.step not in (None, state.step) and state.step is not None:
        raise UsageError(f"the optimizer's state counts {state.step:,} updates, and not {request.step:,}")
    # In an optax state the position is among its members.
    schedule: Schedule | None = None
    unsaid: Sequence[str] = ()
    if state.framework == "torch" and template.framework == "flax":
        schedule, unsaid = scheduled(ckpt, native, state.step or counted)
    if schedule is not None:
        state = replace(state, schedule={"count": schedule.position})
    carried = carry(
        state,
        plan,
        sources,
        template,
        _params_of(tree, template, arrays),
        kind=request.kind,
        hyperparams=request.hyperparams,
        counted=counted,
        schedule=schedule.recipes or None if schedule else None,
        live=_live_torch(request.live, like)
        if template.framework == "torch"
        else _live_optax(request.live, tree),
    )
    averaged, lost = averaged_copies(ckpt, plan, sources, template)
    others = [name for name in ckpt.opt_states if ckpt.opt_states[name].native is not native]
    if others:
        lost.append(f"the other optimizers of the checkpoint are left behind: {', '.join(others)}")
    notes = [*carried.state.notes, *unsaid, *lost, *_kept_notes(ckpt)]
    if unsaid and request.live is None:
        notes.append(
            "the learning rate stays as it is, unless the state of an optimizer with its schedule is given (optimizer=)"
        )
    build = torch_tree if template.framework == "torch" else flax_tree
    made = build(ckpt, tree, carried, averaged)
    key = "optimizer_state_dict" if template.framework == "torch" else "opt_state"
    described = {"optimizers": {key: describe(_with_schedulers(carried.state, ckpt))}}
    return Training(made, carried, described, tuple(dict.fromkeys(notes)))


def _chosen(ckpt: Checkpoint, name: str | None) -> OptimizerState:
    states = ckpt.opt_states
    if name is not None and name not in states:
        raise UsageError(
            f"holds no optimizer {name!r}", path=ckpt.path or None, remedy=f"There is: {', '.join(states)}."
        )
    if name is None and len(states) > 1:
        raise UsageError(
            f"holds {len(states)} optimizers: {', '.join(states)}",
            path=ckpt.path or None,
            remedy="Say which is meant: optimizer_name=, --optimizer-name.",
        )
    state = ckpt.opt_state if name is None else states[name]
    if state is None:
        raise UsageError(
            "holds no optimizer state", path=ckpt.path or None, remedy="Transfer the weights alone."
        )
    return state


def _named(state: OptimizerState, names: Sequence[str], sources: Mapping[str, LazyArray]) -> OptimizerState:
    """A torch state with its parameters named by the caller, who must agree with the shapes that are there."""
    found = read_optimizer(state.native, names=names)
    if found.framework != "torch":
        raise UsageError("parameter_names are for torch's optimizers; optax's states hold the names")
    members = [name for group in found.groups for name in group["params"]]
    unknown = [name for name in members if name not in sources]
    if unknown or len(set(members)) < len(members):
        twice = [name for name in members if members.count(name) > 1]
        text = f"the weights have no {unknown[0]}" if unknown else f"{twice[0]} is named twice"
        raise UsageError(f"parameter_names do not fit: {text}")
    family = family_of(found.kind[0], "torch", found.hyperparams) if found.kind else None
    unlike = {"step"} if family is None else family.scalars | family.factored
    for slot, arrays in found.flat_slots().items():
        for name, array in arrays.items() if slot not in unlike else ():
            if array.shape != sources[name].shape:
                shapes = f"{list(sources[name].shape)}, and its {slot} is {list(array.shape)}"
                raise UsageError(f"parameter_names do not fit: {name} is {shapes}")
    return found


def _params_of(tree: Any, template: Template, arrays: Mapping[str, LazyArray]) -> Any:
    """The tree of parameters, without collections that are not learned."""
    if isinstance(tree, Mapping) and isinstance(tree.get("params"), Mapping):
        return tree["params"]
    own = {slot.name for slot in template.slots if slot.role != "buffer"}
    nested = arranged(template, {name: array for name, array in arrays.items() if name in own})
    return nested["params"] if template.framework == "flax" else nested


def _live_optax(live: Any, tree: Any) -> Any:
    """The tree of the optax state that is filled; None for that of the suggested constructor."""
    if live is not None:
        return _framework("flax").optimizer_state(live)
    return tree["opt_state"] if isinstance(tree, Record) and "opt_state" in tree else None


def _live_torch(live: Any, like: Any) -> LiveTorch | None:
    if live is None:
        return None
    framework = _framework("torch")
    expected = framework.optimizer_template(like, live)
    if expected is None:
        raise UsageError(f"a {type(live).__name__} is no torch optimizer")
    saved = framework.optimizer_state(live)["param_groups"]
    settings = [
        {key: value for key, value in group.items() if key not in ("params", "param_names")}
        for group in saved
    ]
    names = tuple(tuple(slot.name for slot in group) for group in expected.groups)
    return LiveTorch(expected.kind, names, tuple(settings))


def _framework(name: str) -> Framework:
    for _, framework in registry().frameworks:
        if framework.name == name:
            return framework
    raise UsageError(f"no plugin knows the framework {name!r}")


def _with_schedulers(state: OptimizerState, ckpt: Checkpoint) -> OptimizerState:
    """The state with torch's schedulers among what is known of where it came from."""
    if state.home is None or state.framework == "torch":
        return state
    return replace(state, home=replace(state.home, schedulers=dict(ckpt.schedulers)))


def _kept_notes(ckpt: Checkpoint) -> list[str]:
    if not ckpt.rng:
        return []
    return [
        f"random states are kept as they are, and no other framework can go on with them: {', '.join(ckpt.rng)}"
    ]
