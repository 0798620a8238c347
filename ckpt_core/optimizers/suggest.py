"""The constructor whose update continues a state: a recipe, and its code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ckpt_core.errors import UnsupportedError, UsageError
from ckpt_core.families.recipe import Call, Name, chained, code, imports
from ckpt_core.layouts.values import numbers
from ckpt_core.optimizers.grouping import FROZEN, settings_of
from ckpt_core.optimizers.state import OptimizerState
from ckpt_core.optimizers.table import family_of, torch_rule
from ckpt_core.optimizers.translate import translate_optimizer
from ckpt_core.registry import registry

__all__ = ["Suggestion", "optax_recipe", "suggest_optimizer", "suggestion_for", "torch_recipe"]

_TORCH_HIDDEN: Final = frozenset({"initial_lr", "param_names"})
"""What schedulers and optimizers add to groups, and constructors do not take."""


@dataclass(frozen=True)
class Suggestion:
    """An optimizer whose update is the same as the one that wrote a state.

    Arguments:
        code: Python source that makes it, as `tx` (optax) or `optimizer` (torch, from a `model`).
        recipe: the same as data.
        framework: "torch" or "optax".
        notes: conditions, and what was taken to be so.
        live: the object, where it was asked for: an `optax.GradientTransformation` or a `torch.optim.Optimizer`.
    """

    code: str
    recipe: Call
    framework: str
    notes: tuple[str, ...] = ()
    live: Any = field(default=None, compare=False)


def suggestion_for(state: OptimizerState, *, schedule: Any = None, clip: float | None = None) -> Suggestion:
    """Return the constructor for a state in the conventions of its own framework.

    Arguments:
        state: a state of one kind, such as `translate_optimizer` returns.
        schedule: a learning-rate schedule instead of the number in the state: a recipe, one for each group, or a live
            one.
        clip: the norm that gradients are clipped to, as `torch.nn.utils.clip_grad_norm_` does it.
    """
    if len(state.kind) != 1:
        raise UsageError(
            f"the optimizer state fits {len(state.kind)} rules", remedy="translate_optimizer settles it."
        )
    if state.framework == "torch":
        recipe = torch_recipe(state)
        lines = [f"import {module}" for module in imports(recipe)]
        lines += ["", "named = dict(model.named_parameters())", f"optimizer = {code(recipe)}"]
        return Suggestion("\n".join(lines) + "\n", recipe, "torch", state.notes)
    rate = schedule
    if schedule is not None and not isinstance(schedule, (Call, Name, tuple)):
        rate = Name("schedule", schedule)
    recipe = optax_recipe(state, schedule=rate, clip=clip)
    lines = [f"import {module}" for module in imports(recipe)]
    if rate is not None:
        position = (state.schedule or {}).get("count", state.step)
        what = (
            f"{rate.name}: the run's learning-rate schedule; it" if isinstance(rate, Name) else "The schedule"
        )
        lines += ["", f"# {what} goes on at step {position}."]
    lines += ["", f"tx = {code(recipe)}"]
    return Suggestion("\n".join(lines) + "\n", recipe, "optax", state.notes)


def suggest_optimizer(
    state: OptimizerState,
    framework: str | None = None,
    *,
    model: Any = None,
    kind: str | None = None,
    hyperparams: Mapping[str, Any] | None = None,
    schedule: Any = None,
    clip: float | None = None,
) -> Suggestion:
    """Return the constructor whose update is the same as the one that wrote a state: code, and a live object.

    Arguments:
        state: a state of either framework.
        framework: "torch" or "optax", whose constructor is meant; without it the state's own.
        model: the torch module whose parameters are optimized; without it `live` is None for torch.
        kind, hyperparams: see `translate_optimizer`.
        schedule: a live learning-rate schedule for optax, in place of the number in the state.
        clip: the norm that gradients are clipped to before the update.

    Raises:
        UsageError, UnsupportedError: see `translate_optimizer`.
        MissingDependencyError: the framework is not installed.
    """
    made = translate_optimizer(state, framework or state.framework, kind=kind, hyperparams=hyperparams)
    suggestion = suggestion_for(made, schedule=schedule, clip=clip)
    if suggestion.framework == "torch" and model is None:
        return suggestion
    name = "torch" if suggestion.framework == "torch" else "flax"
    for _, known in registry().frameworks:
        if known.name == name:
            return replace(suggestion, live=known.build_optimizer(suggestion.recipe, model))
    raise UsageError(f"no plugin knows the framework {name}")


# optax.


def optax_recipe(state: OptimizerState, *, schedule: Any = None, clip: float | None = None) -> Call:
    """Return the transformation for a state of optax's conventions, its groups included."""
    groups = [dict(group) for group in state.groups] or [
        {**state.hyperparams, "kind": state.kind[0], "params": ()}
    ]
    moving = [group for group in groups if group.get("kind") != FROZEN]
    rates = schedule if isinstance(schedule, tuple) else (schedule,) * len(moving)
    if schedule is not None and len(rates) == len(moving):
        for group, rate in zip(moving, rates, strict=True):
            group["learning_rate"] = rate
    clipping = None if clip is None else Call("ckpt_flax.transforms.torch_clip_by_global_norm", (clip,))
    return chained(clipping, _arranged(groups, state))


def _arranged(groups: list[dict[str, Any]], state: OptimizerState) -> Call:
    if len(groups) == 1 and groups[0].get("kind") != FROZEN:
        return _rule(groups[0])
    decaying = _masked(groups, state)
    if decaying is not None:
        mask = Call("ckpt_flax.transforms.mask_by_name", (list(decaying["params"]),))
        return _rule(decaying, mask)
    labels = [str(group.get("label") or f"group_{i}") for i, group in enumerate(groups)]
    transforms = {
        label: Call("optax.set_to_zero") if group.get("kind") == FROZEN else _rule(group)
        for label, group in zip(labels, groups, strict=True)
    }
    names = {label: list(group["params"]) for label, group in zip(labels, groups, strict=True)}
    by_name = Call("ckpt_flax.transforms.labels_by_name", (names,))
    return Call("optax.multi_transform", (transforms, by_name))


def _masked(groups: list[dict[str, Any]], state: OptimizerState) -> dict[str, Any] | None:
    """The group that decays, where there are two that differ in nothing but having weight decay."""
    if len(groups) != 2 or state.steps:
        return None
    bare = [
        {k: v for k, v in group.items() if k not in ("params", "label", "weight_decay")} for group in groups
    ]
    rates = [group.get("weight_decay") or 0 for group in groups]
    family = family_of(str(groups[0].get("kind")), "optax", groups[0])
    if bare[0] != bare[1] or family is None or not family.takes_mask or (rates[0] == 0) == (rates[1] == 0):
        return None
    return groups[0] if rates[0] else groups[1]


def _rule(group: Mapping[str, Any], mask: Call | None = None) -> Call:
    kind = str(group.get("kind"))
    family = family_of(kind, "optax", group)
    if family is None:
        raise UnsupportedError(f"no constructor for optax's {kind} is known")
    recipe = family.optax_recipe(kind, group, mask)
    return chained(Call("optax.scale", (-1.0,)), recipe) if group.get("maximize") else recipe


# torch.


def torch_recipe(state: OptimizerState) -> Call:
    """Return the optimizer for a state of torch's conventions, with its groups by parameter name."""
    rule = torch_rule(state.kind[0], state.hyperparams)
    if rule is None or not rule.function:
        raise UnsupportedError(f"no constructor for torch's {state.kind[0]} is known")
    taken = rule.defaults.keys() - rule.hidden - _TORCH_HIDDEN
    settings = [
        {k: numbers(v) for k, v in settings_of(group).items() if k in taken} for group in state.groups
    ]
    common = (
        {k: v for k, v in settings[0].items() if all(k in s and s[k] == v for s in settings)}
        if settings
        else {}
    )
    shown = {k: v for k, v in common.items() if k == "lr" or v != rule.defaults.get(k)}
    rows = [
        {"params": [Name(f"named[{name.replace('/', '.')!r}]", name) for name in group["params"]],
         **{k: v for k, v in own.items() if k not in common}}
        for group, own in zip(state.groups, settings, strict=True)
    ]  # fmt: skip
    params: Any = rows[0]["params"] if len(rows) == 1 else rows
    return Call(rule.function, (params,), shown)
