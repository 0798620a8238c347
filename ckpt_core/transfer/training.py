"""A training run carried over whole: weights, optimizer, step, schedule, averaged copies, and what is only kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UsageError
from ckpt_core.framework import Framework, Template
from ckpt_core.layouts.values import number
from ckpt_core.optimizers import OptimizerState, describe, read_optimizer
from ckpt_core.optimizers.schedules import Schedule, schedule_of, scheduler_state
from ckpt_core.optimizers.table import family_of
from ckpt_core.registry import registry
from ckpt_core.schema import Checkpoint
from ckpt_core.transfer.optimizer import Carried, LiveTorch, carry
from ckpt_core.transfer.plan import TransferPlan
from ckpt_core.transfer.sides import Target, arranged
from ckpt_core.transfer.slots import moved_arrays
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
    """

    live: Any = None
    kind: str | None = None
    hyperparams: Mapping[str, Any] | None = None
    name: str | None = None
    parameters: Sequence[str] | None = None


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
    if request.parameters is not None:
        state = _named(state, request.parameters, sources)
    template = target.template
    tree = target.filled(arrays)
    scheduled = _scheduled(ckpt, state)
    if scheduled is not None:
        state = replace(state, schedule={"count": scheduled.position})
    carried = carry(
        state,
        plan,
        sources,
        template,
        _params_of(tree, template, arrays),
        kind=request.kind,
        hyperparams=request.hyperparams,
        counted=ckpt.step,
        schedule=scheduled.recipes or None if scheduled else None,
        live=_live_torch(request.live, like)
        if template.framework == "torch"
        else _live_optax(request.live, tree),
    )
    averaged, lost = _averaged(ckpt, plan, sources, template)
    notes = [*carried.state.notes, *(scheduled.notes if scheduled else ()), *lost, *_kept_notes(ckpt)]
    build = _torch_tree if template.framework == "torch" else _flax_tree
    made = build(ckpt, tree, carried, averaged)
    key = "optimizer_state_dict" if template.framework == "torch" else "opt_state"
    described = {"optimizers": {key: describe(_with_schedulers(carried.state, ckpt))}}
    return Training(made, carried, described, tuple(dict.fromkeys(notes)))


def _scheduled(ckpt: Checkpoint, state: OptimizerState) -> Schedule | None:
    """Where torch's scheduler stands, of which optax's states have the position in them."""
    if state.framework != "torch":
        return None
    found = [schedule_of(saved, state.step or ckpt.step) for saved in ckpt.schedulers.values()]
    return next((schedule for schedule in found if schedule is not None), None)


def _chosen(ckpt: Checkpoint, name: str | None) -> OptimizerState:
    states = ckpt.opt_states
    if name is not None and name not in states:
        raise UsageError(
            f"holds no optimizer {name!r}", path=ckpt.path or None, remedy=f"There is: {', '.join(states)}."
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


def _averaged(
    ckpt: Checkpoint, plan: TransferPlan, sources: Mapping[str, LazyArray], template: Template
) -> tuple[dict[str, Any], list[str]]:
    """The other copies of the weights in the target's layouts, by name, and what of them is left behind."""
    made, notes = {}, []
    for name, copy in ckpt.ema.items():
        arrays = _without_wrapper(dict(copy.leaves()), sources)
        moved = moved_arrays(plan, sources, template, arrays)
        if moved:
            made[name] = _in_form(template, moved)
        left = [key for key in arrays if key not in sources]
        lacking = sum(key not in arrays for key in sources)
        if left or lacking:
            more = f", which lacks {lacking:,} of the weights" if lacking else ""
            notes.append(f"of the copy {name}{more}, {', '.join(left[:4]) or 'nothing'} is left behind")
    return made, notes


def _without_wrapper(
    arrays: Mapping[str, LazyArray], sources: Mapping[str, LazyArray]
) -> dict[str, LazyArray]:
    """A copy under the names of the weights: torch's AveragedModel puts `module` before them, Flax its collections."""
    if any(name in sources for name in arrays):
        return dict(arrays)
    short = {name: name.partition("/")[2] for name in arrays}
    fits = sum(name in sources for name in short.values())
    return {(short[n] if fits and short[n] in sources else n): array for n, array in arrays.items()}


def _in_form(template: Template, arrays: Mapping[str, LazyArray]) -> Any:
    made = arranged(template, arrays)
    return made["params"] if template.framework == "flax" and len(made) == 1 else made


def _with_schedulers(state: OptimizerState, ckpt: Checkpoint) -> OptimizerState:
    """The state with torch's schedulers among what is known of where it came from."""
    if state.home is None or state.framework == "torch":
        return state
    return replace(state, home=replace(state.home, schedulers=dict(ckpt.schedulers)))


def _torch_schedulers(carried: Carried) -> dict[str, Any]:
    """The schedulers that the run was saved with, while they stand where it stands; else a position alone."""
    position = (carried.state.schedule or {}).get("count")
    step = carried.state.step if position is None else position
    home = carried.state.home
    saved = home.schedulers if home is not None and home.framework == "torch" else {}
    found = [schedule_of(state, step) for state in saved.values()]
    if found and all(schedule is not None and schedule.position == step for schedule in found):
        return dict(saved)
    if position is None:
        return {}
    return {"scheduler_state_dict": scheduler_state(position, len(carried.state.groups))}


def _torch_tree(ckpt: Checkpoint, tree: Any, carried: Carried, averaged: Mapping[str, Any]) -> dict[str, Any]:
    made = {
        "epoch": ckpt.epoch,
        "step": carried.state.step if ckpt.step is None else ckpt.step,
        "model_state_dict": tree,
        "optimizer_state_dict": carried.state.native,
        **_torch_schedulers(carried),
        **{_copy_name(name): copy for name, copy in averaged.items()},
        "scaler": _torch_scaler(ckpt.scaler),
        "metrics": dict(ckpt.metrics) or None,
        "config": dict(ckpt.config) or None,
        "rng": dict(ckpt.rng) or None,
    }
    return {key: value for key, value in made.items() if value is not None}


def _flax_tree(ckpt: Checkpoint, tree: Any, carried: Carried, averaged: Mapping[str, Any]) -> Any:
    step = carried.state.step if ckpt.step is None else ckpt.step
    if isinstance(tree, Record) and "opt_state" in tree:
        counted = {"step": step} if "step" in tree and step is not None else {}
        return Record(tree.type_name, {**tree, **counted, "opt_state": carried.state.native})
    native = carried.state.native
    if isinstance(native, Mapping) and set(native) == {"opt_state", "step"}:  # an nnx.Optimizer counts itself
        native = native["opt_state"]
    collections = tree if isinstance(tree, Mapping) and "params" in tree else {"params": tree}
    state = {**collections, "opt_state": native, "step": step or 0}
    metadata = {
        "epoch": ckpt.epoch,
        "metrics": dict(ckpt.metrics) or None,
        "config": dict(ckpt.config) or None,
    }
    made = {
        "state": state,
        "metadata": {key: value for key, value in metadata.items() if value is not None},
        **{_copy_name(name): copy for name, copy in averaged.items()},
        "scaler": _flax_scaler(ckpt.scaler),
        "rng": dict(ckpt.rng) or None,
    }
    return {key: value for key, value in made.items() if value is not None and value != {}}


def _copy_name(name: str) -> str:
    return name if "ema" in name else f"ema_{name}"


def _flax_scaler(scaler: Any) -> Any:
    """torch's GradScaler as the fields of `flax.training.dynamic_scale.DynamicScale`."""
    if not isinstance(scaler, Mapping) or "scale" not in scaler or "_growth_tracker" not in scaler:
        return scaler
    names = ("growth_factor", "backoff_factor", "growth_interval", "scale")
    made = {name: number(scaler[name]) for name in names if name in scaler}
    return {**made, "fin_steps": number(scaler["_growth_tracker"])}


def _torch_scaler(scaler: Any) -> Any:
    """The fields of Flax's DynamicScale as torch's GradScaler."""
    if not isinstance(scaler, Mapping) or "fin_steps" not in scaler:
        return scaler
    defaults = {"growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000}
    known = {name: number(scaler.get(name, value)) for name, value in defaults.items()}
    return {
        "scale": float(number(scaler["scale"])),
        **known,
        "_growth_tracker": int(number(scaler["fin_steps"])),
    }


def _kept_notes(ckpt: Checkpoint) -> list[str]:
    if not ckpt.rng:
        return []
    return [
        f"random states are kept as they are, and no other framework can go on with them: {', '.join(ckpt.rng)}"
    ]
