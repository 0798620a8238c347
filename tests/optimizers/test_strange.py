"""What programs build besides one plain rule: carried where the state tells all, refused where it does not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
import pytest
import torch
from optimizers.crossing import InFlax, as_flax, deviation, file_to_flax, load_flax, save_flax, to_torch
from optimizers.test_reading import PARAMS, labelled, read
from optimizers.worlds import mlp, precision, stepper, train_flax, train_torch

from ckpt_core import open_checkpoint, transfer
from ckpt_core.errors import UnsupportedError, UsageError
from ckpt_core.optimizers import read_optimizer, translate_optimizer

ADAM = {"kind": "adam", "hyperparams": {"learning_rate": 0.1}}
CONTAINERS = ["state.msgpack", "state.pkl", "state"]


def by_layer(params):
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "frozen" if [key.key for key in path] == ["second", "kernel"] else "moving", params
    )


def kernels(params):
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


TRAINED = {
    "chain": lambda: optax.chain(
        optax.clip_by_global_norm(1e9),
        optax.add_decayed_weights(0.01),
        optax.scale_by_adam(),
        optax.scale_by_learning_rate(0.01),
    ),
    "named_chain": lambda: optax.named_chain(
        ("clip", optax.clip(1e9)), ("decay", optax.add_decayed_weights(0.01)), ("rule", optax.adam(0.01))
    ),
    "frozen": lambda: optax.multi_transform(
        {
            "moving": optax.chain(optax.add_decayed_weights(0.01), optax.adam(0.01)),
            "frozen": optax.set_to_zero(),
        },
        by_layer,
    ),
    "apply_if_finite": lambda: optax.apply_if_finite(
        optax.chain(optax.add_decayed_weights(0.01), optax.inject_hyperparams(optax.adam)(0.01)), 3
    ),
    "multi_steps": lambda: optax.MultiSteps(
        optax.chain(optax.add_decayed_weights(0.01), optax.adam(0.01)), 1
    ).gradient_transformation(),
}


@pytest.mark.parametrize("name", TRAINED)
def test_a_composed_optimizer_goes_on_in_torch(name, tmp_path):
    with precision("float64"):
        world = mlp()
        params = world.flax_init()["params"]
        tx = TRAINED[name]()
        step = stepper(world, tx)
        state = train_flax(world, step, (params, {}, tx.init(params)), 0, 20)
        known = {"learning_rate": 0.01, "weight_decay": 0.01}
        run = to_torch(world, tmp_path, InFlax(*state, tx), optimizer_kind="adam", hyperparams=known)
        train_torch(world, run.model, run.optimizer, 20, 100)
        stayed = train_flax(world, step, state, 20, 100)
        assert deviation(as_flax(world, run.model), stayed[0]) < 1e-9


def test_groups_that_count_apart_keep_their_counts(tmp_path):
    """Frozen for a while in torch, groups of their own in optax, and one group with two counts in torch again."""
    with precision("float64"):
        world = mlp()
        model = world.torch_model()
        optimizer = torch.optim.NAdam(model.named_parameters(), lr=0.01)
        model.last.requires_grad_(False)
        train_torch(world, model, optimizer, 0, 7)
        model.last.requires_grad_(True)
        train_torch(world, model, optimizer, 7, 5)
        torch.save(
            {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()},
            tmp_path / "a.pth",
        )
        done = file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack")
        from ckpt_flax.bridge import recipes

        run = load_flax(world, tmp_path / "b.msgpack", recipes.build(done.suggestion.recipe))
        step = stepper(world, run.tx)
        there = train_flax(world, step, run.state, 12, 10)
        carried = done.training.carried.state
        known = {
            "optimizer_kind": "torch_nadam",
            "hyperparams": {**carried.hyperparams, "learning_rate": 0.01},
        }
        back = to_torch(world, tmp_path, InFlax(*there, run.tx), **known)
        counts = [int(entry["step"]) for entry in back.optimizer.state_dict()["state"].values()]
        assert sorted(counts) == [15, 15, 22, 22, 22, 22]
        train_torch(world, back.model, back.optimizer, 22, 100)
        stayed = train_flax(world, step, there, 22, 100)
        assert deviation(as_flax(world, back.model), stayed[0]) < 1e-9


@pytest.mark.parametrize("container", ["state.pkl", "state"])
def test_a_named_chain_is_looked_into(container, tmp_path):
    state = read(
        tmp_path / container, optax.named_chain(("clip", optax.clip(1.0)), ("rule", optax.lion(0.1)))
    )
    assert (state.kind, state.step, list(state.slots)) == (("lion",), 2, ["mu"])


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_rule_within_another_one_is_read_and_not_translated(container, tmp_path):
    state = read(tmp_path / container, optax.contrib.schedule_free_adamw(0.1, b1=0.9))
    assert "nu" in state.slots
    with pytest.raises(
        UnsupportedError, match=r"within another one \(lookahead, schedule_free.*\n.*start the optimizer"
    ):
        translate_optimizer(state, "torch", kind=state.kind[0], hyperparams={"learning_rate": 0.1})


def test_lookahead_is_looked_into(tmp_path):
    tx = optax.lookahead(optax.adam(0.1), sync_period=2, slow_step_size=0.5)
    params = optax.LookaheadParams.init_synced(PARAMS)
    state = tx.init(params)
    _, state = tx.update(PARAMS, state, params)
    found = read_optimizer(tree_of(state))
    assert ("adam" in found.kind, found.step, sorted(found.slots)) == (True, 1, ["mu", "nu"])
    with pytest.raises(UnsupportedError, match="within another one"):
        translate_optimizer(found, "torch", **ADAM)


def tree_of(state):
    from ckpt_core.live import tree_of

    return tree_of(state)


@pytest.mark.parametrize("container", CONTAINERS)
def test_masked_weight_decay_must_be_explained(container, tmp_path):
    state = read(tmp_path / container, optax.adamw(0.1, weight_decay=0.1, mask=kernels))
    known = {"kind": "adamw", "hyperparams": {"learning_rate": 0.1, "weight_decay": 0.1}}
    with pytest.raises(UsageError, match=r"for some parameters alone.*weight decay is 0.1\n.*optimizer="):
        translate_optimizer(state, "torch", **known)
    known["hyperparams"]["weight_decay"] = 0.0
    assert translate_optimizer(state, "torch", **known).kind == ("adamw",)


def test_the_groups_of_a_live_optimizer_explain_masked_weight_decay(tmp_path):
    with precision("float64"):
        world = mlp()
        params = world.flax_init()["params"]
        tx = optax.adamw(0.01, weight_decay=0.1, mask=kernels)
        step = stepper(world, tx)
        state = train_flax(world, step, (params, {}, tx.init(params)), 0, 20)
        save_flax(tmp_path / "run", InFlax(*state, tx), 20)
        model = world.torch_model()
        groups = [
            {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
            {"params": [p for p in model.parameters() if p.ndim > 1]},
        ]
        live = torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1)
        with transfer(tmp_path / "run", model, rules=world.plan, reverse=True, optimizer=live) as done:
            done.save(tmp_path / "out.pth")
        loaded = torch.load(tmp_path / "out.pth", weights_only=True)
        model.load_state_dict(loaded["model_state_dict"])
        live.load_state_dict(loaded["optimizer_state_dict"])
        train_torch(world, model, live, 20, 100)
        stayed = train_flax(world, step, state, 20, 100)
        assert deviation(as_flax(world, model), stayed[0]) < 1e-9


def test_a_group_that_keeps_nothing_is_not_taken_for_frozen(tmp_path):
    tx = optax.multi_transform({"a": optax.adam(0.1), "b": optax.sgd(0.1)}, labelled)
    state = read(tmp_path / "state", tx)
    with pytest.raises(UsageError, match=r"groups that keep nothing.*which they update: b\n.*optimizer="):
        translate_optimizer(state, "torch", **ADAM)


def test_rules_of_several_groups_are_not_one(tmp_path):
    tx = optax.multi_transform({"a": optax.adam(0.1), "b": optax.sgd(0.1, 0.9)}, labelled)
    state = read(tmp_path / "state", tx)
    with pytest.raises(UnsupportedError, match="keeps trace, which optax's adam does not"):
        translate_optimizer(state, "torch", **ADAM)


@pytest.mark.parametrize("make", [optax.adan, optax.contrib.ademamix, optax.contrib.prodigy])
def test_an_unknown_rule_is_not_the_one_that_the_caller_hopes_for(make, tmp_path):
    state = read(tmp_path / "state", make(0.1))
    assert (state.kind, state.slots) == ((), {})
    with pytest.raises(UnsupportedError, match="keeps nothing that optax's adam keeps"):
        translate_optimizer(state, "torch", **ADAM)


@pytest.mark.parametrize(
    ("make", "more"),
    [(lambda: optax.sgd(0.1, 0.9), {}), (lambda: optax.rmsprop(0.1, momentum=0.9), {"eps_in_sqrt": False})],
)
def test_momentum_must_be_said_where_there_is_a_trace(make, more, tmp_path):
    state = read(tmp_path / "state", make())
    known = {"learning_rate": 0.1, **more}
    with pytest.raises(UsageError, match=r"keeps a trace.*\n.*momentum"):
        translate_optimizer(state, "torch", kind=state.kind[0], hyperparams=known)


def test_momentum_that_left_no_trace_is_refused(tmp_path):
    state = read(tmp_path / "state", optax.rmsprop(0.1, eps_in_sqrt=False))
    known = {"learning_rate": 0.1, "eps_in_sqrt": False, "momentum": 0.9}
    with pytest.raises(UsageError, match="keeps no trace"):
        translate_optimizer(state, "torch", kind="rmsprop", hyperparams=known)


def test_moments_of_another_precision_are_named(tmp_path):
    world = mlp()
    params = world.flax_init()["params"]
    tx = optax.adam(0.01, mu_dtype=jnp.bfloat16)
    state = train_flax(world, stepper(world, tx), (params, {}, tx.init(params)), 0, 2)
    save_flax(tmp_path / "run.msgpack", InFlax(*state, tx), 2)
    known = {"optimizer_kind": "adam", "hyperparams": {"learning_rate": 0.01}}
    with transfer(
        tmp_path / "run.msgpack",
        world.torch_model(),
        rules=world.plan,
        reverse=True,
        with_optimizer=True,
        **known,
    ) as done:
        assert any("mu is bfloat16 for 6 parameters of float32" in note for note in done.receipt.notes)


# A live optimizer of another rule.


def test_a_live_state_of_another_rule_is_refused(tmp_path):
    world = mlp()
    model = world.torch_model()
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.01)
    train_torch(world, model, optimizer, 0, 2)
    torch.save(
        {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()},
        tmp_path / "a.pth",
    )
    variables = world.flax_init()
    with pytest.raises(UnsupportedError, match=r"of another rule \(adagrad\).*\(torch_adagrad\)"):
        transfer(
            tmp_path / "a.pth",
            variables,
            rules=world.plan,
            optimizer=optax.adagrad(0.01).init(variables["params"]),
        )


def test_a_live_optimizer_of_another_rule_is_refused(tmp_path):
    world = mlp()
    params = world.flax_init()["params"]
    tx = optax.adam(0.01)
    state = train_flax(world, stepper(world, tx), (params, {}, tx.init(params)), 0, 2)
    save_flax(tmp_path / "run.msgpack", InFlax(*state, tx), 2)
    model = world.torch_model()
    with pytest.raises(UnsupportedError, match="the optimizer is sgd, and the state goes on with adam"):
        transfer(
            tmp_path / "run.msgpack", model, rules=world.plan, reverse=True, optimizer_kind="adam",
            hyperparams={"learning_rate": 0.01}, optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        )  # fmt: skip


# torch.


def saved(tmp_path, model, optimizer_state, **more):
    torch.save(
        {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer_state, **more},
        tmp_path / "a.pth",
    )
    return open_checkpoint(tmp_path / "a.pth").opt_state


def stepped_adam(model, params=None):
    optimizer = torch.optim.Adam(model.parameters() if params is None else params)
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def test_an_optimizer_before_its_first_step_starts_at_zero(tmp_path):
    """A fresh optimizer of a run that has come far: its count is its own."""
    world = mlp()
    model = world.torch_model()
    fresh = torch.optim.Adam(model.parameters())
    torch.save(
        {"model_state_dict": model.state_dict(), "optimizer_state_dict": fresh.state_dict(), "step": 1000},
        tmp_path / "a.pth",
    )
    done = file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack")
    assert done.training.carried.state.step == 0
    run = load_flax(world, tmp_path / "b.msgpack", optax.adam(1e-3))
    assert int(run.opt_state[0].count) == 0


def test_an_entry_of_no_group_is_not_named(tmp_path):
    model = torch.nn.Linear(3, 2)
    state = stepped_adam(model)
    state["state"][7] = dict(state["state"][0])
    assert "a state of ['7'], which no group has" in saved(tmp_path, model, state).notes[0]


def test_slots_that_contradict_each_other_are_not_named(tmp_path):
    model = torch.nn.Linear(3, 2)
    state = stepped_adam(model)
    state["state"][0]["exp_avg"] = torch.zeros(5)
    assert "parameter 0 has the shapes (2, 3) and (5,)" in saved(tmp_path, model, state).notes[0]


def test_saved_names_of_a_wrapper_are_those_of_its_module(tmp_path):
    model = torch.nn.Linear(3, 2)
    wrapped = torch.nn.ModuleDict({"module": model})
    state = saved(tmp_path, model, stepped_adam(model, wrapped.named_parameters()))
    assert state.groups[0]["params"] == ("weight", "bias")


def test_saved_names_that_are_no_weights_are_not_taken(tmp_path):
    model = torch.nn.Linear(3, 2)
    state = saved(tmp_path, model, stepped_adam(model, [("w", model.weight), ("b", model.bias)]))
    assert "the weights have no w, which is a name that the optimizer was saved with" in state.notes[0]


def test_a_third_partys_slots_are_not_adams(tmp_path):
    model = torch.nn.Linear(3, 2)
    state = stepped_adam(model)
    for entry in state["state"].values():
        entry["exp_avg_diff"] = torch.zeros_like(entry["exp_avg"])
    found = saved(tmp_path, model, state)
    assert found.kind == ()
    assert sorted(found.slots) == ["exp_avg_diff", "mu", "nu"]
