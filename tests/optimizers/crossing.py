"""Crossing from one framework to the other through files on disk, read back by the official loaders."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import torch
from ckpt_flax.bridge import recipes as flax_recipes
from ckpt_torch.bridge import recipes as torch_recipes
from optimizers.worlds import World

from ckpt_core.optimizers import OptimizerState
from ckpt_core.transfer import Transferred, transfer
from ckpt_core.transfer.optimizer import Carried
from ckpt_core.tree import map_with_path


@dataclasses.dataclass
class InFlax:
    """A run in Flax."""

    params: Any
    rest: Any
    opt_state: Any
    tx: optax.GradientTransformation
    carried: Carried | None = None

    @property
    def state(self) -> tuple[Any, Any, Any]:
        return self.params, self.rest, self.opt_state


@dataclasses.dataclass
class InTorch:
    """A run in torch."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    carried: Carried


def save_torch(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    state = {
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "step": step,
    }
    torch.save(state, path)


def file_to_flax(world: World, source: Path, out: Path, **how: Any) -> Transferred:
    """Convert a torch file into a train state that Flax's own loaders read."""
    done = transfer(source, world.flax_init(), rules=world.plan, with_optimizer=True, **how)
    with done:
        done.save(out, to=None if out.suffix else "orbax", force=True)
    return done


def load_flax(world: World, path: Path, tx: optax.GradientTransformation) -> InFlax:
    """Load a train state with Orbax or Flax, into the structure that the program itself has."""
    variables = world.flax_init()
    like = {"state": {**variables, "opt_state": tx.init(variables["params"]), "step": np.int32(0)}}
    if path.is_dir():
        loaded = ocp.PyTreeCheckpointer().restore(path, item=like)["state"]
    else:
        loaded = flax.serialization.from_bytes(like, path.read_bytes())["state"]
    loaded = jax.tree.map(jax.numpy.asarray, loaded)
    rest = {key: value for key, value in loaded.items() if key not in ("params", "opt_state", "step")}
    return InFlax(loaded["params"], rest, loaded["opt_state"], tx)


def to_flax(
    world: World, folder: Path, model: Any, optimizer: Any, *, to: str = "state.msgpack", **how: Any
) -> InFlax:
    """Cross from torch to Flax through files."""
    save_torch(folder / "from.pth", model, optimizer, 0)
    done = file_to_flax(world, folder / "from.pth", folder / to, **how)
    run = load_flax(world, folder / to, flax_recipes.build(done.suggestion.recipe))
    return dataclasses.replace(run, carried=done.training.carried)


def save_flax(path: Path, run: InFlax, step: int = 0) -> None:
    """Save a run as Flax programs do, with nothing that this project adds."""
    tree = {"params": run.params, **run.rest, "opt_state": run.opt_state, "step": np.int32(step)}
    if path.suffix:
        path.write_bytes(flax.serialization.to_bytes(tree))
    else:
        ocp.PyTreeCheckpointer().save(path, tree)


def file_to_torch(world: World, source: Path, out: Path, **how: Any) -> Transferred:
    """Convert a train state into a file that `torch.load` reads."""
    done = transfer(source, world.torch_model(), rules=world.plan, reverse=True, with_optimizer=True, **how)
    with done:
        done.save(out, force=True)
    return done


def to_torch(
    world: World, folder: Path, run: InFlax, *, name: str = "run", step: int = 0, **how: Any
) -> InTorch:
    """Cross from Flax to torch through files."""
    save_flax(folder / name, run, step)
    done = file_to_torch(world, folder / name, folder / f"{name}.pth", **how)
    loaded = torch.load(folder / f"{name}.pth", weights_only=True)
    model = world.torch_model()
    model.load_state_dict(loaded["model_state_dict"])
    optimizer = torch_recipes.build(done.suggestion.recipe, model)
    optimizer.load_state_dict(loaded["optimizer_state_dict"])
    return InTorch(model, optimizer, done.training.carried)


def as_flax(world: World, model: torch.nn.Module) -> Any:
    """The parameters of a torch model in Flax's layout, as numpy arrays."""
    return map_with_path(
        lambda _, leaf: np.array(leaf), transfer(model, world.flax_init(), rules=world.plan).load()["params"]
    )


def deviation(ours: Any, theirs: Any) -> float:
    """The largest difference, relative to the largest value of its tensor."""
    pairs = jax.tree.leaves(
        jax.tree.map(lambda a, b: (np.asarray(a, np.float64), np.asarray(b, np.float64)), ours, theirs),
        is_leaf=lambda x: isinstance(x, tuple),
    )
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def same_bits(a: OptimizerState | Any, b: Any) -> bool:
    """Whether two torch state dicts are equal to the last bit."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same_bits(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same_bits, a, b))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
    return type(a) is type(b) and bool(a == b)
