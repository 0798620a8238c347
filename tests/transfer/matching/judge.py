"""The judge of found plans: both models run on the same input, every array random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import traverse_util

from ckpt_core.framework import Template
from ckpt_core.keypath import join_name
from ckpt_core.live import tree_of
from ckpt_core.template import template_of
from ckpt_core.transfer import TransferPlan
from ckpt_core.transfer.binding import bind
from ckpt_core.transfer.matching import plan_transfer
from ckpt_core.transfer.ops import Constant


@dataclass(frozen=True)
class Pair:
    """One model in both frameworks.

    Arguments:
        name: what the test is called.
        torch: makes the torch module.
        flax: makes the linen module.
        shape: the shape of the input as torch takes it; channels come second where it has four or three axes.
        tokens: the size of the vocabulary, where the input is token numbers.
        channels: whether Flax takes the channels last.
    """

    name: str
    torch: Callable[[], torch.nn.Module]
    flax: Callable[[], Any]
    shape: tuple[int, ...]
    tokens: int = 0
    channels: bool = False


@dataclass(frozen=True)
class Live:
    """Both models with random values, and their inputs."""

    module: torch.nn.Module
    linen: Any
    variables: Any
    inputs: tuple[torch.Tensor, Any]

    def torch_output(self) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(self.module(self.inputs[0]))

    def flax_output(self, variables: Any) -> np.ndarray:
        return np.asarray(self.linen.apply(variables, self.inputs[1]))


def live(pair: Pair) -> Live:
    """Make both models of a pair, every float random, variances positive."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    module = pair.torch().eval()
    with torch.no_grad():
        for name, array in [*module.named_parameters(), *module.named_buffers()]:
            if array.is_floating_point():
                values = torch.rand_like(array) - 0.5
                array.copy_(values + 1 if name.endswith("var") else values)
    if pair.tokens:
        tokens = rng.integers(0, pair.tokens, pair.shape)
        inputs = torch.from_numpy(tokens), jnp.asarray(tokens)
    else:
        data = rng.normal(size=pair.shape).astype(np.float32)
        moved = np.moveaxis(data, 1, -1) if pair.channels else data
        inputs = torch.from_numpy(data), jnp.asarray(moved)
    linen = pair.flax()
    variables = jax.eval_shape(linen.init, jax.random.key(0), inputs[1])
    flat = traverse_util.flatten_dict(variables)
    filled = {
        path: jnp.asarray(
            rng.uniform(0.5 if path[-1] == "var" else -0.5, 1 if path[-1] == "var" else 0.5, leaf.shape),
            leaf.dtype,
        )
        for path, leaf in flat.items()
    }
    return Live(module, linen, traverse_util.unflatten_dict(filled), inputs)


def templates(models: Live, *, types: bool) -> tuple[Template, Template]:
    """What both models expect, with or without the types of their layers."""
    sides = template_of(models.module), template_of((models.linen, models.variables))
    if types:
        return sides
    plain = [
        tuple(type(slot)(slot.path, slot.spec, slot.role, {}, slot.tied) for slot in side.slots)
        for side in sides
    ]
    return Template(plain[0], sides[0].framework), Template(plain[1], sides[1].framework)


def applied(plan: TransferPlan, source: dict[str, np.ndarray], target: Template) -> dict[str, np.ndarray]:
    """Return what a plan makes, by slot; what it leaves open is left out."""
    lazy = tree_of(dict(source))
    bound = bind(plan, {name: array.spec for name, array in lazy.items()}, target.by_name())
    problems = [problem for problem in bound.problems if problem.kind != "unsettled"]
    assert not problems, problems
    made: dict[str, Any] = {}
    for step in bound.steps:
        arrays = tuple(lazy[name] for name in step.sources)
        for op in step.rule.ops:
            if isinstance(op, Constant):
                arrays = tuple(op.fill(target.by_name()[name].spec, None) for name in step.targets)
            else:
                arrays = op.apply(arrays)
        made.update(zip(step.targets, (np.asarray(array) for array in arrays), strict=True))
    for slot in target.slots:
        if slot.tied and slot.name not in made and "/".join(slot.tied) in made:
            made[slot.name] = made["/".join(slot.tied)]
    return made


def left_over(plan: TransferPlan, source: Template, target: Template) -> list[str]:
    """Return the parameters that a plan takes nowhere, second names of tied ones left out."""
    bound = bind(plan, {slot.name: slot.spec for slot in source.slots}, target.by_name())
    slots = source.by_name()
    return [name for name in bound.unused if slots[name].role == "param" and not slots[name].tied]


def verdict(models: Live, sides: tuple[Template, Template], direction: str) -> tuple[str, TransferPlan]:
    """Return "exact", "open" or "wrong" of the plan that is found, and the plan."""
    torch_values = {
        "/".join(slot.path): models.module.state_dict()[".".join(slot.path)].numpy()
        for slot in sides[0].slots
    }
    flax_values = flax_arrays(models.variables)
    if direction == "flax":
        plan = plan_transfer(*sides)
        made = applied(plan, torch_values, sides[1])
        missing = [slot.name for slot in sides[1].slots if slot.name not in made]
        variables = with_arrays(models.variables, made)
        ours, theirs = models.flax_output(variables), models.torch_output()
    else:
        plan = plan_transfer(sides[1], sides[0])
        made = applied(plan, flax_values, sides[0])
        missing = [
            slot.name
            for slot in sides[0].slots
            if slot.name not in made and not slot.name.endswith("num_batches_tracked")
        ]
        state = {
            **models.module.state_dict(),
            **{name.replace("/", "."): torch.from_numpy(np.array(a)) for name, a in made.items()},
        }
        before = models.module.state_dict()
        before = {name: tensor.clone() for name, tensor in before.items()}
        models.module.load_state_dict(state)
        ours, theirs = models.torch_output(), models.flax_output(models.variables)
        models.module.load_state_dict(before)
    source, target = sides if direction == "flax" else sides[::-1]
    if missing or left_over(plan, source, target):
        return "open", plan
    if theirs.ndim > 2 and ours.shape != theirs.shape:
        theirs = np.moveaxis(theirs, 1 if direction == "flax" else -1, -1 if direction == "flax" else 1)
    return "exact" if np.allclose(ours, theirs, rtol=1e-3, atol=1e-4) else "wrong", plan


def flax_arrays(variables: Any) -> dict[str, np.ndarray]:
    """The arrays of linen variables by the names that a template gives them."""
    return {
        join_name(path[1:]): np.asarray(leaf) for path, leaf in traverse_util.flatten_dict(variables).items()
    }


def with_arrays(variables: Any, made: dict[str, np.ndarray]) -> Any:
    """Linen variables with some arrays replaced."""
    flat = traverse_util.flatten_dict(variables)
    return traverse_util.unflatten_dict(
        {path: jnp.asarray(made.get(join_name(path[1:]), leaf)) for path, leaf in flat.items()}
    )
