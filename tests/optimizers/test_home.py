"""There and back: a state that the other framework did not touch comes home to the last bit, groups and all."""

from __future__ import annotations

import flax.serialization
import jax
import numpy as np
import optax
import pytest
import torch
from optimizers.crossing import (
    InFlax,
    file_to_flax,
    file_to_torch,
    load_flax,
    same_bits,
    save_flax,
    save_torch,
)
from optimizers.worlds import mlp, precision, stepper, train_flax, train_torch

Adam, AdamW = torch.optim.Adam, torch.optim.AdamW


def by_name(model):
    return dict(model.named_parameters())


def in_odd_order(model):
    named = by_name(model)
    first = ["last.weight", "first.bias"]
    return [
        {"params": [(name, named[name]) for name in first], "lr": 0.02, "betas": (0.5, 0.9), "lr_scale": 0.7},
        {
            "params": [(name, named[name]) for name in reversed(named) if name not in first],
            "note": "the rest",
        },
    ]


def with_a_frozen_layer(model):
    model.second.requires_grad_(False)
    return Adam(model.parameters(), lr=0.01)


def thawed_later(model):
    model.last.requires_grad_(False)
    train_torch(mlp(), model, optimizer := Adam(model.named_parameters(), lr=0.01), 0, 2)
    model.last.requires_grad_(True)
    return optimizer


def with_a_scheduler(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)  # adds initial_lr to the groups
    return optimizer


def added_later(model):
    optimizer = AdamW(model.first.named_parameters("first"), lr=0.01)
    optimizer.add_param_group({"params": list(model.last.named_parameters("last")), "weight_decay": 0.0})
    optimizer.add_param_group({"params": list(model.second.named_parameters("second")), "lr": 0.5})
    return optimizer


ODD = {
    "odd order, own settings": lambda model: Adam(in_odd_order(model), lr=0.01),
    "flags": lambda model: Adam(model.parameters(), lr=0.01, foreach=False, differentiable=False),
    "fused": lambda model: AdamW(model.parameters(), lr=0.01, fused=True),
    "saved names": lambda model: AdamW(model.named_parameters(), lr=0.01),
    "a frozen layer": with_a_frozen_layer,
    "thawed later": thawed_later,
    "a scheduler": with_a_scheduler,
    "added later": added_later,
    "maximize": lambda model: torch.optim.RMSprop(model.parameters(), lr=1e-4, momentum=0.9, maximize=True),
    "amsgrad in one group": lambda model: Adam(
        [
            {"params": list(model.first.named_parameters("first")), "amsgrad": True},
            {"params": [*model.second.named_parameters("second"), *model.last.named_parameters("last")]},
        ],
        lr=0.01,
    ),
    "damped without momentum": lambda model: torch.optim.SGD(model.parameters(), lr=0.01, dampening=0.3),
    "tensors and lists": lambda model: Adam(
        model.parameters(), lr=torch.tensor(0.01), betas=[0.8, 0.9], foreach=False
    ),
    "before the first step": None,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ODD)
def test_a_torch_state_comes_home(name, dtype, tmp_path):
    with precision(dtype):
        world = mlp()
        model = world.torch_model()
        optimizer = (ODD[name] or ODD["odd order, own settings"])(model)
        if ODD[name] is not None:
            train_torch(world, model, optimizer, 0, 3)
        save_torch(tmp_path / "a.pth", model, optimizer, 3)
        file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack")
        file_to_torch(world, tmp_path / "b.msgpack", tmp_path / "c.pth")
        back = torch.load(tmp_path / "c.pth", weights_only=True)["optimizer_state_dict"]
        assert same_bits(optimizer.state_dict(), back)


SETTINGS = {
    "sgd": {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True},
    "adam": {"learning_rate": 0.01, "b1": 0.8},
    "adamw": {"learning_rate": 0.01, "weight_decay": 0.1},
    "nadam": {"learning_rate": 0.01},
    "nadamw": {"learning_rate": 0.01, "weight_decay": 0.1},
    "radam": {"learning_rate": 0.01},
    "adamax": {"learning_rate": 0.01},
    "rmsprop": {"learning_rate": 0.001, "eps_in_sqrt": False},
    "adadelta": {"learning_rate": 1.0, "weight_decay": 0.01},
    "lion": {"learning_rate": 0.001},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_an_optax_state_comes_home(name, tmp_path):
    """Into the stock function's own structure, which the program then loads it into."""
    world = mlp()
    params = world.flax_init()["params"]
    tx = vars(optax)[name](**SETTINGS[name])
    state = train_flax(world, stepper(world, tx), (params, {}, tx.init(params)), 0, 3)
    save_flax(tmp_path / "a.msgpack", InFlax(*state, tx), 3)
    known = {"optimizer_kind": name, "hyperparams": SETTINGS[name]}
    file_to_torch(world, tmp_path / "a.msgpack", tmp_path / "b.pth", **known)
    file_to_flax(world, tmp_path / "b.pth", tmp_path / "c.msgpack")
    back = load_flax(world, tmp_path / "c.msgpack", tx)
    assert flax.serialization.to_bytes(back.opt_state) == flax.serialization.to_bytes(state[2])
    assert jax.tree.all(jax.tree.map(np.array_equal, back.params, state[0]))


def test_labels_come_home(tmp_path):
    world = mlp()
    params = world.flax_init()["params"]

    def labels(tree):
        return {
            layer: dict.fromkeys(leaves, "fast" if layer == "last" else "slow")
            for layer, leaves in tree.items()
        }

    tx = optax.multi_transform({"slow": optax.adam(0.01), "fast": optax.adam(0.01)}, labels)
    state = train_flax(world, stepper(world, tx), (params, {}, tx.init(params)), 0, 3)
    save_flax(tmp_path / "a.msgpack", InFlax(*state, tx), 3)
    known = {"optimizer_kind": "adam", "hyperparams": {"learning_rate": 0.01}}
    file_to_torch(world, tmp_path / "a.msgpack", tmp_path / "b.pth", **known)
    file_to_flax(world, tmp_path / "b.pth", tmp_path / "c.msgpack")
    back = load_flax(world, tmp_path / "c.msgpack", tx)
    assert flax.serialization.to_bytes(back.opt_state) == flax.serialization.to_bytes(state[2])
