"""How far a run that crossed is from the run that stayed, for each update rule: the table of docs/optimizers.md.

    python -m benchmarks.optimizer_states [--only adam,sgd]

For each rule: train an MLP for 20 steps in torch, carry everything into Flax through a file, train on in both. The
deviation is max|difference| / max|parameter| per tensor, the worst tensor counts. `fresh` is what two identical fresh
starts in the two frameworks drift apart by in float32 after 120 steps (of damped SGD that includes torch's undamped
first step), and `lost` the deviation of a run that crossed without its optimizer, after 100 steps. Muon takes the
matrices alone.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from ckpt_torch.optim import Lion

from ckpt_core import restore, save_checkpoint, suggest_optimizer, transfer

optim = torch.optim
RULES: Final[dict[str, Callable[[Any], torch.optim.Optimizer]]] = {
    "sgd": lambda p: optim.SGD(p, lr=0.05, weight_decay=0.01),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "dampening": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.4, weight_decay=0.01),
    "adam": lambda p: optim.Adam(p, lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "maximize": lambda p: optim.Adam(p, lr=0.001, maximize=True),
    "amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.01),
    "amsgradw": lambda p: optim.AdamW(p, lr=0.01, amsgrad=True, weight_decay=0.1),
    "nadam": lambda p: optim.NAdam(p, lr=0.01, weight_decay=0.01),
    "nadamw": lambda p: optim.NAdam(p, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
    "radam": lambda p: optim.RAdam(p, lr=0.01, betas=(0.9, 0.99), weight_decay=0.01),
    "radamw": lambda p: optim.RAdam(p, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
    "adamax": lambda p: optim.Adamax(p, lr=0.01, weight_decay=0.01),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.003, weight_decay=0.01),
    "rmsprop momentum": lambda p: optim.RMSprop(p, lr=0.001, momentum=0.8),
    "rmsprop centred": lambda p: optim.RMSprop(p, lr=0.001, centered=True, momentum=0.5),
    "adagrad": lambda p: optim.Adagrad(
        p, lr=0.05, lr_decay=0.01, weight_decay=0.01, initial_accumulator_value=0.1
    ),
    "adadelta": lambda p: optim.Adadelta(p, lr=1.0, weight_decay=0.01),
    "rprop": lambda p: optim.Rprop(p, lr=0.001),
    "adafactor": lambda p: optim.Adafactor(p, lr=0.01, weight_decay=0.1),
    "lion": lambda p: Lion(p, lr=0.001, weight_decay=0.1),
    "muon": lambda p: optim.Muon([pair for pair in p if pair[1].ndim == 2], lr=0.01, weight_decay=0.1),
}


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Run both frameworks in one floating-point type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with jax.enable_x64(dtype == "float64"):
            yield
    finally:
        torch.set_default_dtype(before)


def model() -> torch.nn.Module:
    """The MLP in torch, always with the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = torch.nn.Module()
        made.first, made.second, made.last = (
            torch.nn.Linear(*sizes) for sizes in ((6, 16), (16, 16), (16, 3))
        )
        return made


def batch(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and what to make of them, the same in both frameworks."""
    x = np.random.default_rng(1000 + step).normal(size=(12, 6))
    return x, np.stack([np.sin(x[:, 0] * x[:, 1]), x[:, 2] ** 2 - x[:, 3], np.cos(x[:, 4]) * x[:, 5]], 1)


def train_torch(net: torch.nn.Module, optimizer: torch.optim.Optimizer, start: int, steps: int) -> None:
    for step in range(start, start + steps):
        x, y = (torch.from_numpy(a).to(torch.get_default_dtype()) for a in batch(step))
        optimizer.zero_grad()
        hidden = torch.tanh(net.second(torch.tanh(net.first(x))))
        ((net.last(hidden) - y) ** 2).mean().backward()
        optimizer.step()


def trainer(tx: optax.GradientTransformation) -> Callable[..., Any]:
    """Return a function from (parameters, optimizer's state), a first step and a number of steps to the same."""

    def loss(params: Any, x: Any, y: Any) -> Any:
        def dense(name: str, value: Any) -> Any:
            return value @ params[name]["kernel"] + params[name]["bias"]

        return ((dense("last", jnp.tanh(dense("second", jnp.tanh(dense("first", x))))) - y) ** 2).mean()

    @jax.jit
    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        updates, state = tx.update(jax.grad(loss)(params, x, y), state, params)
        return optax.apply_updates(params, updates), state

    def train(run: Any, start: int, steps: int) -> Any:
        dtype = run[0]["first"]["kernel"].dtype
        for i in range(start, start + steps):
            run = step(*run, *(jnp.asarray(a, dtype) for a in batch(i)))
        return run

    return train


def in_flax(net: torch.nn.Module) -> Any:
    """The parameters as Flax has them."""
    return {
        name: {
            "kernel": jnp.array(layer.weight.detach().numpy().T),
            "bias": jnp.array(layer.bias.detach().numpy()),
        }
        for name, layer in net.named_children()
    }


def deviation(ours: Any, theirs: Any) -> float:
    """The largest difference, relative to the largest value of its tensor."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return max(float(abs(a - b).max() / abs(b).max()) for a, b in pairs)


def crossed(net: torch.nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> tuple[Any, Any]:
    """Carry a run over through files; returns its parameters and its optimizer's state, and the transformation."""
    save_checkpoint(folder / "run.pth", net, optimizer)
    params = jax.tree.map(jnp.zeros_like, in_flax(net))
    with transfer(folder / "run.pth", {"params": params}, with_optimizer=True) as done:
        assert done.training is not None
        done.save(folder / "run.msgpack")
        tx = suggest_optimizer(done.training.carried.state).live
    found = restore(folder / "run.msgpack", {"params": params}, tx.init(params))
    return (found.model["params"], found.optimizer), tx


def measured(name: str, dtype: str) -> dict[str, float]:
    """Return the deviations of one rule in one precision."""
    found = {}
    with precision(dtype), tempfile.TemporaryDirectory() as folder:
        net = model()
        optimizer = RULES[name](list(net.named_parameters()))
        train_torch(net, optimizer, 0, 20)
        there, tx = crossed(net, optimizer, Path(folder))
        train, lost, done = trainer(tx), (there[0], tx.init(there[0])), 0
        for mark in (1, 10, 100):
            there, lost = (train(run, 20 + done, mark - done) for run in (there, lost))
            train_torch(net, optimizer, 20 + done, mark - done)
            done = mark
            found[f"@{mark}"] = deviation(there[0], in_flax(net))
        found["lost"] = deviation(lost[0], in_flax(net))
        if dtype == "float32":
            params = in_flax(model())
            found["fresh"] = deviation(train((params, tx.init(params)), 0, 120)[0], in_flax(net))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rules, separated by commas")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print("| rule | float64 @100 | float32 @1 | @10 | @100 | fresh starts, float32 | optimizer lost |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in [name for name in RULES if not args.only or name in args.only.split(",")]:
        wide, narrow = measured(name, "float64"), measured(name, "float32")
        cells = [wide["@100"], *(narrow[key] for key in ("@1", "@10", "@100", "fresh", "lost"))]
        print(f"| {name} | " + " | ".join(f"{value:.0e}" for value in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
