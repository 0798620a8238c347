"""A live optimizer that a state goes into: what it tells, what it must have, and what begins anew in it."""

from __future__ import annotations

import jax.numpy as jnp
import optax
import pytest
import torch
from flax import nnx
from optimizers.crossing import InFlax, as_flax, deviation, save_flax, save_torch
from optimizers.worlds import mlp, precision, stepper, train_flax, train_torch

from ckpt_core import restore, transfer
from ckpt_core.errors import UnsupportedError, UsageError


def about(notes, *words):
    return [note for note in notes if all(word in note for word in words)]


def flax_run(world, tx, path, steps=20):
    params = world.flax_init()["params"]
    step = stepper(world, tx)
    state = train_flax(world, step, (params, {}, tx.init(params)), 0, steps)
    save_flax(path, InFlax(*state, tx), steps)
    return step, state


def into(world, path, model, live, **known):
    return transfer(path, model, rules=world.plan, reverse=True, optimizer=live, **known)


def test_the_groups_of_a_live_optimizer_tell_each_its_own(tmp_path):
    """Momentum that is scaled by a learning rate is divided by that of its own group."""
    with precision("float64"):
        world = mlp()

        def labels(params):
            return {
                layer: dict.fromkeys(leaves, "b" if layer == "last" else "a")
                for layer, leaves in params.items()
            }

        rules = {"a": optax.rmsprop(0.004, eps_in_sqrt=False, momentum=0.8),
                 "b": optax.rmsprop(0.002, eps_in_sqrt=False, momentum=0.8)}  # fmt: skip
        step, state = flax_run(world, optax.multi_transform(rules, labels), tmp_path / "run")
        model = world.torch_model()
        groups = [{"params": model.last.parameters(), "lr": 0.002},
                  {"params": [*model.first.parameters(), *model.second.parameters()], "lr": 0.004}]  # fmt: skip
        live = torch.optim.RMSprop(groups, alpha=0.9, momentum=0.8)
        with into(world, tmp_path / "run", model, live) as done:
            done.save(tmp_path / "out.pth")
        loaded = torch.load(tmp_path / "out.pth", weights_only=True)
        model.load_state_dict(loaded["model_state_dict"])
        live.load_state_dict(loaded["optimizer_state_dict"])
        train_torch(world, model, live, 20, 100)
        assert deviation(as_flax(world, model), train_flax(world, step, state, 20, 100)[0]) < 1e-9


LIVE = {
    "nadam": (lambda: optax.nadam(0.01), lambda p: torch.optim.NAdam(p), {}, "continues optax's torch_nadam"),
    "amsgrad": (
        lambda: optax.adam(0.01), lambda p: torch.optim.Adam(p, amsgrad=True), {}, "continues optax's torch_amsgrad"
    ),
    "adagrad": (lambda: optax.adagrad(0.01), lambda p: torch.optim.Adagrad(p), {}, "continues optax's torch_adagrad"),
    "radam": (lambda: optax.radam(0.01), lambda p: torch.optim.RAdam(p), {}, r"of torch_radam or radam.*\n.*kind="),
}  # fmt: skip


@pytest.mark.parametrize("name", LIVE)
def test_a_live_rule_that_does_not_continue_the_state_is_refused(name, tmp_path):
    make, optimizer, known, message = LIVE[name]
    world = mlp()
    flax_run(world, make(), tmp_path / "run.msgpack", 2)
    model = world.torch_model()
    with pytest.raises((UsageError, UnsupportedError), match=message):
        into(world, tmp_path / "run.msgpack", model, optimizer(model.parameters()), **known)


def test_a_live_rule_that_is_near_by_goes_on_with_a_note(tmp_path):
    world = mlp()
    flax_run(world, optax.radam(0.01), tmp_path / "run.msgpack", 2)
    model = world.torch_model()
    live = torch.optim.RAdam(model.parameters(), lr=0.01)
    with into(world, tmp_path / "run.msgpack", model, live, optimizer_kind="radam") as done:
        assert about(done.receipt.notes, "torch's RAdam adds eps to sqrt(v)")
        assert done.training.carried.state.groups[0]["lr"] == 0.01


def test_a_live_state_of_another_chain_is_named(tmp_path):
    world = mlp()
    model = world.torch_model()
    optimizer = torch.optim.AdamW(model.parameters())
    train_torch(world, model, optimizer, 0, 2)
    save_torch(tmp_path / "a.pth", model, optimizer, 2)
    params = world.flax_init()["params"]

    def notes(tx):
        with transfer(
            tmp_path / "a.pth", world.flax_init(), rules=world.plan, optimizer=tx.init(params)
        ) as done:
            return done.receipt.notes

    assert about(notes(optax.adam(0.1)), "fewer members than the one that is suggested", "weight decay")
    assert about(notes(optax.chain(optax.adamw(0.1), optax.ema(0.9))), "begins anew: count, ema")
    assert notes(optax.chain(optax.clip(1.0), optax.adamw(0.1))) == ()


def test_slots_of_joined_parameters_are_refused(tmp_path):
    world = mlp()
    flax_run(world, optax.flatten(optax.adam(0.01)), tmp_path / "run.msgpack", 2)
    known = {"optimizer_kind": "adam", "hyperparams": {"learning_rate": 0.1}}
    with pytest.raises(UnsupportedError, match=r"the weights have no such names\n.*optax.flatten"):
        transfer(
            tmp_path / "run.msgpack",
            world.torch_model(),
            rules=world.plan,
            reverse=True,
            with_optimizer=True,
            **known,
        )


def test_the_count_of_a_condition_around_a_rule_is_filled(tmp_path):
    world = mlp()
    model = world.torch_model()
    optimizer = torch.optim.Adam(model.parameters())
    train_torch(world, model, optimizer, 0, 2)
    save_torch(tmp_path / "a.pth", model, optimizer, 2)
    tx = optax.conditionally_transform(optax.adam(0.1), lambda step: step < 9)
    params = world.flax_init()["params"]
    with transfer(tmp_path / "a.pth", world.flax_init(), rules=world.plan, optimizer=tx.init(params)) as done:
        filled = done.load()["state"]["opt_state"]
    assert int(filled["step"]) == 2
    assert int(filled["inner_state"][0]["count"]) == 2


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(6, 16, rngs=rngs)
        self.second = nnx.Linear(16, 16, rngs=rngs)
        self.last = nnx.Linear(16, 3, rngs=rngs)


def test_from_optax_into_optax_the_rule_need_not_be_named(tmp_path):
    """From linen into an NNX model, whose optimizer is at hand."""
    world = mlp()
    _, (_, _, opt_state) = flax_run(world, optax.adamw(0.01), tmp_path / "run.msgpack", 3)
    model = Net(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.chain(optax.clip(1.0), optax.adamw(0.01)), wrt=nnx.Param)
    with transfer(tmp_path / "run.msgpack", model, optimizer=optimizer) as done:
        assert done.suggestion is None
        done.save(tmp_path / "out.msgpack")
    restore(tmp_path / "out.msgpack", model, optimizer)
    state = optimizer.opt_state[1][0]
    assert int(optimizer.step[...]) == int(state.count[...]) == 3
    assert jnp.array_equal(state.mu["last"]["kernel"][...], opt_state[0].mu["last"]["kernel"])
    fresh = nnx.Optimizer(model, optax.sgd(0.01, 0.9), wrt=nnx.Param)
    with pytest.raises(UnsupportedError, match=r"of another rule \(sgd\)"):
        transfer(tmp_path / "run.msgpack", model, optimizer=fresh)


def test_from_optax_into_optax_without_an_optimizer_its_settings_are_asked_for(tmp_path):
    world = mlp()
    flax_run(world, optax.rmsprop(0.01, centered=True, momentum=0.9), tmp_path / "run.msgpack", 3)
    model = Net(nnx.Rngs(0))

    def moved(**given):
        return transfer(
            tmp_path / "run.msgpack", model, optimizer_kind="rmsprop", with_optimizer=True, hyperparams=given
        )

    with pytest.raises(UsageError, match="does not hold the learning rate"):
        moved()
    with pytest.raises(UnsupportedError, match=r"the state keeps trace, which optax\.rmsprop does not"):
        moved(learning_rate=0.01)
    with moved(learning_rate=0.01, momentum=0.9) as done:
        assert done.suggestion.recipe.kwargs["centered"] is True
        assert about(done.receipt.notes, "taken to be optax's defaults for rmsprop: decay=0.9")
        state = done.load()["state"]["opt_state"]
        assert [list(member) for member in state] == [["mu", "nu"], [], ["trace"]]


# Groups under labels of the program's own.


def by_layer(params):
    return {
        layer: dict.fromkeys(leaves, "quick" if layer == "last" else "slow")
        for layer, leaves in params.items()
    }


def thawed(tmp_path, world):
    """A run whose last layer was frozen at first, and is faster."""
    model = world.torch_model()
    named = [*model.first.named_parameters("first"), *model.second.named_parameters("second")]
    last = {"params": list(model.last.named_parameters("last")), "lr": 0.02}
    optimizer = torch.optim.AdamW([{"params": named}, last], lr=0.01, weight_decay=0.1)
    model.last.requires_grad_(False)
    train_torch(world, model, optimizer, 0, 3)
    model.last.requires_grad_(True)
    train_torch(world, model, optimizer, 3, 7)
    save_torch(tmp_path / "a.pth", model, optimizer, 10)
    return model, optimizer


def test_each_label_gets_the_count_and_the_settings_of_its_own_parameters(tmp_path):
    with precision("float64"):
        world = mlp()
        model, optimizer = thawed(tmp_path, world)
        variables = world.flax_init()
        rule = optax.inject_hyperparams(optax.adamw)
        tx = optax.multi_transform({"quick": rule(0.5), "slow": rule(0.5)}, by_layer)
        opt_state = tx.init(variables["params"])
        with transfer(tmp_path / "a.pth", variables, rules=world.plan, optimizer=opt_state) as done:
            done.save(tmp_path / "out.msgpack")
        restored = restore(tmp_path / "out.msgpack", variables["params"], opt_state)
        inner = {label: state.inner_state for label, state in restored.optimizer.inner_states.items()}
        assert {label: int(state.inner_state[0].count) for label, state in inner.items()} == {
            "quick": 7,
            "slow": 10,
        }
        rates = {label: float(state.hyperparams["learning_rate"]) for label, state in inner.items()}
        assert rates == {"quick": 0.02, "slow": 0.01}
        run = (restored.model, {}, restored.optimizer)
        there = train_flax(world, stepper(world, tx), run, 10, 100)
        train_torch(world, model, optimizer, 10, 100)
        assert deviation(there[0], as_flax(world, model)) < 1e-9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optax.adamw(0.01), "7 and 10 updates were made of parameters that it counts together"),
        (lambda: optax.inject_hyperparams(optax.adamw)(0.01), "different learning_rate, and it has one"),
    ],
)
def test_what_one_rule_cannot_hold_is_refused(make, message, tmp_path):
    world = mlp()
    thawed(tmp_path, world)
    variables = world.flax_init()
    with pytest.raises(UnsupportedError, match=message):
        transfer(tmp_path / "a.pth", variables, rules=world.plan, optimizer=make().init(variables["params"]))


@pytest.mark.parametrize("injected", [True, False])
def test_weight_decay_for_some_needs_a_mask(injected, tmp_path):
    """The group without it comes first, and its decay of zero is not that of the whole rule."""
    world = mlp()
    model = world.torch_model()
    parts = [[p for p in model.parameters() if p.ndim == n] for n in (1, 2)]
    groups = [{"params": part, "weight_decay": decay} for part, decay in zip(parts, (0.0, 0.25), strict=True)]
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    train_torch(world, model, optimizer, 0, 2)
    save_torch(tmp_path / "a.pth", model, optimizer, 2)
    variables = world.flax_init()
    names = [
        name for part in parts for name, param in model.named_parameters() if any(param is p for p in part)
    ]

    def kernels(params):
        return {layer: {"kernel": True, "bias": False} for layer in params}

    def filled(mask):
        rule = optax.inject_hyperparams(optax.adamw, static_args="mask") if injected else optax.adamw
        like = rule(0.01, weight_decay=0.1, mask=mask).init(variables["params"])
        return transfer(
            tmp_path / "a.pth", variables, rules=world.plan, optimizer=like, parameter_names=names
        )

    with filled(kernels) as done:
        state = done.load()["state"]["opt_state"]
        assert not injected or float(state["hyperparams"]["weight_decay"]) == 0.25
    with pytest.raises(UnsupportedError, match="groups of different weight_decay"):
        filled(None)
