"""Neutral states from real files: torch's ids named, optax's wrappers looked through, and what cannot be told."""

from __future__ import annotations

import importlib
import inspect
import pickle

import flax.serialization
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import torch
from flax import nnx

from ckpt_core import open_checkpoint
from ckpt_core.errors import UnsupportedError, UsageError
from ckpt_core.families import BUILT_IN
from ckpt_core.optimizers import described, read_optimizer, translate_optimizer
from ckpt_core.optimizers.naming import Weight, by_order

ADAM_LIKE = {"adam", "adamw", "nadam", "radam", "adamax", "yogi", "adabelief"}


def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))


def stepped(model, optimizer):
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    return optimizer


def opened(tmp_path, model, optimizer, **more):
    state = {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict(), **more}
    torch.save(state, tmp_path / "a.pth")
    return open_checkpoint(tmp_path / "a.pth").opt_state


def test_ids_are_named_in_the_order_of_the_weights(tmp_path):
    model = net()
    state = opened(tmp_path, model, stepped(model, torch.optim.Adam(model.parameters())))
    assert [name for name, _ in state.slots["mu"].leaves()] == [
        "0/weight",
        "0/bias",
        "1/weight",
        "1/bias",
        "2/weight",
        "2/bias",
    ]
    assert (state.kind, state.step, state.framework) == (("adam",), 1, "torch")


def test_a_group_with_decay_that_comes_first_is_told_by_its_shapes(tmp_path):
    model = net()
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1]},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    state = opened(tmp_path, model, stepped(model, torch.optim.AdamW(groups)))
    assert [group["params"] for group in state.groups] == [
        ("0/weight", "2/weight"),
        ("0/bias", "1/weight", "1/bias", "2/bias"),
    ]
    expected = torch.load(tmp_path / "a.pth")["optimizer_state_dict"]["state"][1]["exp_avg"].numpy()
    assert np.array_equal(state.slots["mu"]["2/weight"].read(), expected)


def test_groups_that_shapes_do_not_tell_apart_are_not_guessed(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    groups = [{"params": model[1].parameters()}, {"params": model[0].parameters()}]
    optimizer = torch.optim.Adam(groups)
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    state = opened(tmp_path, model, optimizer)
    assert not state.is_named
    assert "the shapes allow more than one order" in state.notes[0]
    with pytest.raises(UsageError, match="known by position only"):
        translate_optimizer(state, "optax")


def test_saved_names_settle_it(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    groups = [
        {"params": list(model[1].named_parameters("1"))},
        {"params": list(model[0].named_parameters("0"))},
    ]
    groups = [{"params": [(f"{i}.{n}", p) for n, p in model[i].named_parameters()]} for i in (1, 0)]
    optimizer = torch.optim.Adam(groups)
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    state = opened(tmp_path, model, optimizer)
    assert state.groups[0]["params"] == ("1/weight", "1/bias")


def test_frozen_parameters_outside_of_the_optimizer_are_not_guessed(tmp_path):
    model = net()
    model[0].requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    state = opened(tmp_path, model, stepped(model, optimizer))
    assert "the optimizer has 4 parameters and the weights are 6" in state.notes[0]


def test_tied_weights_have_one_id(tmp_path):
    model = torch.nn.ModuleDict(
        {"embed": torch.nn.Embedding(5, 3), "head": torch.nn.Linear(3, 5, bias=False)}
    )
    model["head"].weight = model["embed"].weight
    optimizer = torch.optim.Adam(model.parameters())
    model["head"](model["embed"](torch.tensor([1]))).sum().backward()
    optimizer.step()
    state = opened(tmp_path, model, optimizer)
    assert [name for name, _ in state.slots["nu"].leaves()] == ["embed/weight"]


def test_shapes_that_disagree_are_not_named():
    naming = by_order([[0, 1]], {0: (2,), 1: (3,)}, [Weight("a", (3,)), Weight("b", (2,))])
    assert naming.names == {}
    assert "parameter 0 has the shape (2,), and a, which stands at its place, (3,)" in naming.reason


def test_lbfgs_keeps_what_is_no_slot(tmp_path):
    model = net()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)

    def closure():
        optimizer.zero_grad()
        loss = (model(torch.ones(5, 3)) ** 2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    state = opened(tmp_path, model, optimizer)
    assert state.kind == ("lbfgs",)
    assert not state.slots
    assert "state/(0)/old_dirs" in state.other
    with pytest.raises(
        UnsupportedError, match=r"flat vectors over all parameters.*\n.*start optax.lbfgs anew"
    ):
        translate_optimizer(state, "optax")


# optax.

PARAMS = {"dense": {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}}


def save(path, tree):
    if path.suffix == ".msgpack":
        path.write_bytes(flax.serialization.to_bytes(tree))
    elif path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(tree))
    else:
        ocp.PyTreeCheckpointer().save(path, tree)


def read(path, tx, steps=2, params=PARAMS):
    state = tx.init(params)
    for _ in range(steps):
        _, state = tx.update(params, state, params)
    save(path, {"params": params, "opt_state": state, "step": steps})
    return open_checkpoint(path).opt_state


def labelled(params):
    return {"dense": {"kernel": "a", "bias": "b"}}


WRAPPED = {
    "chain": lambda tx: optax.chain(optax.clip_by_global_norm(1.0), tx),
    "masked": lambda tx: optax.masked(tx, lambda p: {"dense": {"kernel": True, "bias": True}}),
    "multi_transform": lambda tx: optax.multi_transform({"a": tx, "b": tx}, labelled),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "multi_steps": lambda tx: optax.MultiSteps(tx, 1).gradient_transformation(),
}


@pytest.mark.parametrize("container", ["state.msgpack", "state.pkl", "state"])
@pytest.mark.parametrize("wrapper", WRAPPED)
def test_wrappers_are_looked_through(wrapper, container, tmp_path):
    state = read(tmp_path / container, WRAPPED[wrapper](optax.adam(optax.constant_schedule(0.1))))
    assert set(state.kind) >= ADAM_LIKE - {"adabelief"}
    assert state.step == 2
    assert sorted(name for name, _ in state.slots["nu"].leaves()) == ["dense/bias", "dense/kernel"]
    assert state.schedule == {"count": 2}
    if wrapper == "multi_transform":
        assert {g["label"]: g["params"] for g in state.groups} == {
            "a": ("dense/kernel",),
            "b": ("dense/bias",),
        }


def test_injected_hyperparameters_are_read(tmp_path):
    state = read(tmp_path / "state.msgpack", optax.inject_hyperparams(optax.adamw)(0.25))
    assert state.hyperparams["learning_rate"] == 0.25
    assert state.hyperparams["b1"] == pytest.approx(0.9)


def test_accumulated_gradients_are_named_and_left(tmp_path):
    tx = optax.MultiSteps(optax.sgd(0.1, 0.9), 3).gradient_transformation()
    state = read(tmp_path / "state.msgpack", tx, steps=4)
    assert {"mini_step", "acc_grads"} <= state.other.keys()
    known = {"learning_rate": 0.1, "momentum": 0.9}
    translated = translate_optimizer(state, "torch", kind="sgd", hyperparams=known)
    assert any("saved after 1 steps of accumulation" in note for note in translated.notes)


def test_unknown_members_stay_as_they_are(tmp_path):
    state = read(tmp_path / "state.msgpack", optax.chain(optax.ema(0.9), optax.sgd(0.1, 0.9)))
    assert state.kind == ("sgd",)
    assert "0/ema" in state.other


def test_the_place_in_its_chain_tells_a_trace(tmp_path):
    assert read(tmp_path / "sgd.msgpack", optax.sgd(0.1, 0.9)).kind == ("sgd",)
    assert read(tmp_path / "clipped.msgpack", optax.chain(optax.clip(1.0), optax.sgd(0.1, 0.9))).kind == (
        "sgd",
    )
    assert read(tmp_path / "injected.msgpack", optax.inject_hyperparams(optax.sgd)(0.1, 0.9)).kind == ("sgd",)
    assert "lars" in read(tmp_path / "lars.msgpack", optax.lars(0.1)).kind


def test_an_nnx_optimizer(tmp_path):
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(0.1), wrt=nnx.Param)
    optimizer.update(model, nnx.state(model, nnx.Param))
    checkpointer = ocp.StandardCheckpointer()
    checkpointer.save(tmp_path / "state", {"model": nnx.state(model), "optimizer": nnx.state(optimizer)})
    checkpointer.wait_until_finished()
    with open_checkpoint(tmp_path / "state") as ckpt:
        state = read_optimizer(ckpt.tree["optimizer"])
    assert state.step == 1
    assert sorted(name for name, _ in state.slots["mu"].leaves()) == ["bias", "kernel"]


# What cannot be translated says why, and what to use instead.

REFUSED = {
    "amsgrad": (optax.amsgrad(0.1), {}, "maximum of the corrected second moment.*\n.*scale_by_torch_amsgrad"),
    "rprop": (optax.rprop(0.1), {}, "one step late.*\n.*scale_by_torch_rprop"),
    "rmsprop": (optax.rmsprop(0.1), {}, "eps under the root.*\n.*eps_in_sqrt=False"),
    "adamaxw": (optax.adamaxw(0.1), {}, "no decoupled weight decay"),
    "adafactor": (optax.adafactor(0.1), {}, "factors other dimensions.*\n.*torch_adafactor"),
    "adam": (optax.adam(0.1, eps_root=1e-8), {"eps_root": 1e-8}, "an epsilon under the root"),
    "yogi": (optax.yogi(0.1), {}, "torch has no Yogi of its own"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_torch_has_no_rule_for_is_refused(kind, tmp_path):
    tx, more, message = REFUSED[kind]
    state = read(tmp_path / "state.msgpack", tx)
    with pytest.raises(UnsupportedError, match=message):
        translate_optimizer(state, "torch", kind=kind, hyperparams={"learning_rate": 0.1, **more})


def test_several_candidates_must_be_settled(tmp_path):
    state = read(tmp_path / "state.msgpack", optax.adam(0.1))
    with pytest.raises(UsageError, match="fits 15 rules: adam, adamw"):
        translate_optimizer(state, "torch")
    with pytest.raises(UsageError, match="does not hold the learning rate"):
        translate_optimizer(state, "torch", kind="adam")
    with pytest.raises(UsageError, match="cannot be of the rule 'sgd'"):
        translate_optimizer(state, "torch", kind="sgd")
    settled = translate_optimizer(state, "torch", kind="adam", hyperparams={"learning_rate": 0.1})
    assert settled.hyperparams["lr"] == 0.1
    assert "optax's defaults for adam: b1=0.9" in settled.notes[0]


def test_a_saved_config_names_the_rule(tmp_path):
    tree = {
        "state": {"params": PARAMS, "opt_state": optax.adamw(0.1).init(PARAMS)},
        "metadata": {"config": {"optimizer": "AdamW"}},
    }
    (tmp_path / "a.msgpack").write_bytes(flax.serialization.to_bytes(tree))
    assert open_checkpoint(tmp_path / "a.msgpack").opt_state.kind == ("adamw",)


def test_dampened_sgd_before_its_first_step_is_refused(tmp_path):
    model = net()
    state = opened(tmp_path, model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, dampening=0.5))
    with pytest.raises(UnsupportedError, match="leaves the very first gradient undamped"):
        translate_optimizer(state, "optax")


# The tables, compared with both libraries.

TORCH = {rule.function: rule for family in BUILT_IN for rule in family.torch if rule.function}
OPTAX = {rule.function: rule for family in BUILT_IN for rule in family.optax}
STATES = {keeps.name: keeps for rule in OPTAX.values() for keeps in rule.keeps}


def named(function):
    module, _, name = function.rpartition(".")
    return vars(importlib.import_module(module))[name]


@pytest.mark.parametrize("function", TORCH)
def test_torch_groups_hold_what_the_table_says(function):
    optimizer = named(function)([torch.nn.Parameter(torch.ones(2, 2))])
    held = {key: value for key, value in optimizer.param_groups[0].items() if key != "params"}
    assert held == dict(TORCH[function].defaults)


@pytest.mark.parametrize("function", [name for name in OPTAX if OPTAX[name].defaults])
def test_optax_defaults_are_what_the_table_says(function):
    defaults = {k: p.default for k, p in inspect.signature(named(function)).parameters.items()}
    parts = {"decoupled", "weight_decay"} | ({"learning_rate"} if "scale_by" in function else set())
    for key, value in OPTAX[function].defaults.items():
        if function.startswith("optax.") or key not in parts:  # of ours, these are other members of the chain
            assert key in defaults
            assert value is None or defaults[key] == value


@pytest.mark.parametrize("name", STATES)
def test_states_have_the_fields_that_the_table_says(name):
    assert named(name)._fields == STATES[name].fields


@pytest.mark.parametrize("function", OPTAX)
def test_functions_exist(function):
    assert callable(named(function))


AMBIGUOUS = {"torch.optim.SparseAdam": ("adam", "adamw", "radam", "sparseadam", "lamb")}


@pytest.mark.parametrize("function", [name for name in TORCH if name != "torch.optim.LBFGS"])
def test_torch_states_tell_their_rule(function):
    """By what a real optimizer keeps and its groups hold, after a step; before it where the groups tell it alone."""
    param = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = named(function)([param])
    rule = TORCH[function]
    before = read_optimizer(optimizer.state_dict()).kind
    assert before == ((rule.kind,) if rule.marks else ())
    param.grad = torch.ones(2, 2).to_sparse() if "Sparse" in function else torch.ones(2, 2)
    optimizer.step()
    assert read_optimizer(optimizer.state_dict()).kind == AMBIGUOUS.get(function, (rule.kind,))


# What a transfer wrote beside a state.

DESCRIPTION = {
    "framework": "optax",
    "kind": ["adamw"],
    "groups": [{"params": ["dense/kernel", "dense/bias"], "learning_rate": 0.1, "kind": "adamw"}],
}


def with_description(tmp_path, description):
    state = optax.adam(0.1).init(PARAMS)
    (tmp_path / "a.msgpack").write_bytes(flax.serialization.to_bytes({"params": PARAMS, "opt_state": state}))
    with open_checkpoint(tmp_path / "a.msgpack") as ckpt:
        return described(ckpt.opt_state, description)


def test_a_description_settles_the_rule(tmp_path):
    state = with_description(tmp_path, DESCRIPTION)
    assert (state.kind, state.hyperparams["learning_rate"]) == (("adamw",), 0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": ["lion"]},
        {"framework": "torch"},
        {"kind": "adamw"},
        {"groups": [{"params": "dense"}]},
        {"groups": None},
    ],
)
def test_a_description_that_contradicts_its_state_is_passed_over(wrong, tmp_path):
    state = with_description(tmp_path, {**DESCRIPTION, **wrong})
    assert len(state.kind) > 1
    assert "learning_rate" not in state.hyperparams


@pytest.mark.parametrize(
    "home",
    [
        "torch",
        {"framework": "torch", "kind": "adamw"},
        {"groups": [{"params": [0]}], "step_dtype": "int8", "schedulers": {}},
        {"groups": [{"params": 3}], "step_dtype": "float32", "schedulers": {}},
        {"groups": [{"$array": 7}], "step_dtype": "float32", "schedulers": {}},
        {"groups": [{"params": [], "lr": {"$array": {"dtype": "no", "shape": [9], "value": 1}}}]},
    ],
)
def test_a_damaged_memory_of_home_is_none(home, tmp_path):
    state = with_description(tmp_path, {**DESCRIPTION, "home": home})
    assert (state.kind, state.home) == (("adamw",), None)
