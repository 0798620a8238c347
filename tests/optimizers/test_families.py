"""Each family, in both directions: train, cross through files, train on, and compare with having stayed."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from ckpt_torch.optim import Lion
from optimizers.crossing import (
    InFlax,
    as_flax,
    deviation,
    file_to_flax,
    file_to_torch,
    same_bits,
    save_torch,
    to_flax,
    to_torch,
)
from optimizers.worlds import conv, mlp, precision, stepper, train_flax, train_torch

from ckpt_core import transfer
from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UnsupportedError
from ckpt_core.transfer.axes import averages_through, stay_whole
from ckpt_core.transfer.ops import Reshape, Transpose
from ckpt_core.transfer.plan import Rule, TransferPlan

FROM_TORCH = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.01),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "dampening": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.4, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "maximize": lambda p: torch.optim.Adam(p, lr=0.001, maximize=True),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.01),
    "amsgradw": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True, weight_decay=0.1),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01, weight_decay=0.01),
    "nadamw": lambda p: torch.optim.NAdam(p, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.01, betas=(0.9, 0.99), weight_decay=0.01),
    "radamw": lambda p: torch.optim.RAdam(p, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
    "adamax": lambda p: torch.optim.Adamax(p, lr=0.01, weight_decay=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.003, weight_decay=0.01),
    "rmsprop momentum": lambda p: torch.optim.RMSprop(p, lr=0.001, momentum=0.8),
    "rmsprop centred": lambda p: torch.optim.RMSprop(p, lr=0.001, centered=True, momentum=0.5),
    "adagrad": lambda p: torch.optim.Adagrad(
        p, lr=0.05, lr_decay=0.01, weight_decay=0.01, initial_accumulator_value=0.1
    ),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=1.0, weight_decay=0.01),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.001),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01, weight_decay=0.1),
    "lion": lambda p: Lion(p, lr=0.001, weight_decay=0.1),
}


SIBLINGS = {"momentum", "rmsprop"}
"""Rules without some of what a sibling in the table has; the test of bits and the benchmark have them too."""


@pytest.mark.parametrize("name", [name for name in FROM_TORCH if name not in SIBLINGS])
def test_from_torch_and_back(name, tmp_path):
    """torch, then Flax, then torch: each time as if the run had stayed, after 100 more steps."""
    there_and_back(mlp, lambda model: FROM_TORCH[name](model.parameters()), tmp_path, 1e-9)


def there_and_back(world_of, make, tmp_path, tolerance, dtype="float64", steps=100):
    with precision(dtype):
        world = world_of()
        model = world.torch_model()
        optimizer = make(model)
        train_torch(world, model, optimizer, 0, 20)
        run = to_flax(world, tmp_path, model, optimizer)
        step = stepper(world, run.tx)
        there = train_flax(world, step, run.state, 20, steps)
        train_torch(world, model, optimizer, 20, steps)
        assert deviation(there[0], as_flax(world, model)) < tolerance

        known = run.carried.state
        settled = {"optimizer_kind": known.kind[0], "hyperparams": known.hyperparams, "step": 20 + steps}
        back = to_torch(world, tmp_path, InFlax(*there, run.tx), **settled)
        train_torch(world, back.model, back.optimizer, 20 + steps, steps)
        stayed = train_flax(world, step, there, 20 + steps, steps)
        assert deviation(as_flax(world, back.model), stayed[0]) < tolerance


def test_adafactor_factors_the_axes_of_convolutions(tmp_path):
    """torch averages over the last two axes of a kernel, which are the first two in Flax."""

    def make(model):
        return torch.optim.Adafactor(model.named_parameters(), lr=0.01, weight_decay=0.1)

    there_and_back(conv, make, tmp_path, 1e-9)  # flattened features change their order, and stay one axis


HEADS = {"params": {"q": jnp.zeros((2, 3, 4))}}


@pytest.mark.parametrize("make", [torch.optim.Adafactor, torch.optim.Muon])
def test_rules_of_whole_tensors_do_not_follow_what_mixes_axes(make, tmp_path):
    model = torch.nn.ParameterDict({"q": torch.nn.Parameter(torch.randn(4, 6))})
    optimizer = make(model.parameters())
    model["q"].square().sum().backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "a.pth")
    rules = (Rule(("q",), ("q",), (Transpose(), Reshape((2, 3, 4)))),)
    plan = TransferPlan(rules, source_framework="torch", target_framework="flax")
    with pytest.raises(
        UnsupportedError, match=r"looks at each tensor as a whole, and q becomes q by transpose"
    ):
        transfer(tmp_path / "a.pth", HEADS, rules=plan, with_optimizer=True)


@pytest.mark.parametrize(
    ("ops", "shape", "is_whole"),
    [
        ((), (4, 6), True),
        ((Transpose(),), (4, 6), True),
        ((Reshape((4, 2, 3)), Transpose((2, 1, 0)), Reshape((6, 4))), (4, 6), True),
        ((Reshape((4, 2, 3)), Transpose((2, 1, 0)), Reshape((-1, 4))), (4, 6), True),
        ((Reshape((4, 2, 3)), Transpose((1, 0, 2)), Reshape((8, 3))), (4, 6), False),
        ((Reshape((24,)),), (4, 6), False),
        ((Reshape((4, 2, 3)),), (4, 6), False),
        ((Reshape((6, 4)),), (4, 6), False),
        ((Reshape((1, 4, 1, 6)),), (4, 6), True),
        ((Reshape((0,)),), (0, 6), False),
    ],
)
def test_axes_that_stay_whole(ops, shape, is_whole):
    """Averages over one axis move as the average of the moved tensor."""
    assert stay_whole(ops, shape) == is_whole
    for axis in range(2) if is_whole else ():
        values = np.random.default_rng(0).normal(size=shape)
        moved = (LazyArray.from_numpy(values),)
        for op in ops:
            moved = op.apply(moved)
        average = LazyArray.from_numpy(values.mean(axis, keepdims=True))
        made = averages_through(ops, shape, average).read()
        over = tuple(i for i, size in enumerate(made.shape) if size == 1)
        assert np.allclose(made, moved[0].read().mean(over, keepdims=True), rtol=1e-12)


def matrices_of(model):
    return [(name, param) for name, param in model.named_parameters() if param.ndim == 2]


@pytest.mark.parametrize("adjust", [None, "match_rms_adamw"])
def test_muon_goes_on_for_some_steps_as_if_it_had_stayed(adjust, tmp_path):
    """Its bfloat16 sums have no defined order: for a few steps the runs agree as far as bfloat16 does."""

    def make(model):
        return torch.optim.Muon(matrices_of(model), lr=0.01, weight_decay=0.1, adjust_lr_fn=adjust)

    there_and_back(mlp, make, tmp_path, 2e-3, "float32", 5)


@pytest.mark.parametrize("name", FROM_TORCH)
def test_there_and_back_is_bit_identical(name, tmp_path):
    world = mlp()
    model = world.torch_model()
    optimizer = FROM_TORCH[name](model.parameters())
    train_torch(world, model, optimizer, 0, 5)
    save_torch(tmp_path / "a.pth", model, optimizer, 5)
    file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack")
    file_to_torch(world, tmp_path / "b.msgpack", tmp_path / "c.pth")
    there, back = (torch.load(tmp_path / f, weights_only=True) for f in ("a.pth", "c.pth"))
    assert same_bits(there["model_state_dict"], back["model_state_dict"])
    assert same_bits(there["optimizer_state_dict"], back["optimizer_state_dict"])


FROM_OPTAX = {
    "sgd": (optax.sgd, {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}, 1e-9),
    "adam": (optax.adam, {"learning_rate": 0.01, "b1": 0.8}, 1e-9),
    "adamw": (optax.adamw, {"learning_rate": 0.01, "weight_decay": 0.1}, 1e-9),
    "nadam": (optax.nadam, {"learning_rate": 0.01}, 1e-7),  # torch keeps the product of momenta in float32
    "nadamw": (optax.nadamw, {"learning_rate": 0.01, "weight_decay": 0.1}, 1e-7),
    "radam": (optax.radam, {"learning_rate": 0.01}, 1e-3),  # eps stands elsewhere
    "adamax": (optax.adamax, {"learning_rate": 0.01}, 1e-9),
    "rmsprop": (optax.rmsprop, {"learning_rate": 0.001, "eps_in_sqrt": False, "momentum": 0.8}, 1e-9),
    "adagrad": (optax.adagrad, {"learning_rate": 0.05}, 1e-9),
    "adadelta": (optax.adadelta, {"learning_rate": 1.0, "weight_decay": 0.01}, 1e-9),
    "lion": (optax.lion, {"learning_rate": 0.001}, 1e-9),
}


@pytest.mark.parametrize("name", FROM_OPTAX)
def test_from_stock_optax(name, tmp_path):
    """A run with optax's own function, saved by Orbax, goes on in torch."""
    make, hyperparams, tolerance = FROM_OPTAX[name]
    with precision("float64"):
        world = mlp()
        variables = world.flax_init()
        tx = make(**hyperparams)
        step = stepper(world, tx)
        state = train_flax(world, step, (variables["params"], {}, tx.init(variables["params"])), 0, 20)
        run = to_torch(
            world, tmp_path, InFlax(*state, tx), optimizer_kind=name, hyperparams=hyperparams, step=20
        )
        train_torch(world, run.model, run.optimizer, 20, 100)
        stayed = train_flax(world, step, state, 20, 100)
        assert deviation(as_flax(world, run.model), stayed[0]) < tolerance
