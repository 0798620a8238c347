"""What the other side goes without is refused or named: chains, schedules, wrappers, settings, defaults."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from optimizers.crossing import file_to_flax, save_torch
from optimizers.test_reading import labelled, opened, read
from optimizers.worlds import TorchMlp, mlp, precision, train_torch

from ckpt_core import transfer
from ckpt_core.errors import UnsupportedError, UsageError
from ckpt_core.optimizers import read_optimizer, translate_optimizer

LR = {"learning_rate": 0.1}


def to_torch(path, tx, kind, **known):
    return translate_optimizer(read(path, tx), "torch", kind=kind, hyperparams={**LR, **known})


def about(notes, *words):
    return [note for note in notes if all(word in note for word in words)]


# Members of a chain that keep nothing.

BESIDE = {
    "a limit": lambda tx: optax.chain(optax.clip(1.0), tx),
    "centred gradients": lambda tx: optax.chain(optax.centralize(), tx),
    "another scale": lambda tx: optax.chain(tx, optax.scale(0.5)),
    "a trust ratio": lambda tx: optax.chain(tx, optax.scale_by_trust_ratio()),
    "parameters above zero": lambda tx: optax.chain(tx, optax.keep_params_nonnegative()),
    "frozen parameters": lambda tx: optax.chain(tx, optax.freeze({"dense": {"kernel": False, "bias": True}})),
    "a limit before groups": lambda tx: optax.chain(
        optax.clip(1.0), optax.multi_transform({"a": tx, "b": tx}, labelled)
    ),
}
RULES = {
    "adam": (lambda: optax.adam(0.1), {}),
    "adamw": (lambda: optax.adamw(0.1), {}),
    "sgd": (lambda: optax.sgd(0.1, 0.9), {"momentum": 0.9}),
    "rmsprop": (lambda: optax.rmsprop(0.1, eps_in_sqrt=False), {"eps_in_sqrt": False}),
    "adadelta": (lambda: optax.adadelta(0.1), {}),
    "adagrad": (lambda: optax.adagrad(0.1), {}),
    "lion": (lambda: optax.lion(0.1), {}),
}


@pytest.mark.parametrize("container", ["state.msgpack", "state.pkl", "state"])
@pytest.mark.parametrize("name", BESIDE)
def test_a_member_that_keeps_nothing_is_named(name, container, tmp_path):
    made = to_torch(tmp_path / container, BESIDE[name](optax.adam(0.1)), "adam")
    assert about(made.notes, "has 1 member more than the rule", "a limit on gradients")


@pytest.mark.parametrize("kind", RULES)
def test_the_chain_of_each_rule_is_known(kind, tmp_path):
    make, known = RULES[kind]
    bare = to_torch(tmp_path / "bare", make(), kind, **known)
    assert not about(bare.notes, "the chain")
    scheduled = {"adam": optax.adam, "adamw": optax.adamw, "lion": optax.lion}.get(kind)
    if scheduled is not None:
        made = to_torch(tmp_path / "scheduled", scheduled(optax.constant_schedule(0.1)), kind, **known)
        assert not about(made.notes, "the chain")
    clipped = to_torch(
        tmp_path / "clipped", optax.chain(optax.clip(1.0), optax.identity(), make()), kind, **known
    )
    assert about(clipped.notes, "has 2 members more")


def test_weight_decay_that_is_said_is_a_member_of_the_chain(tmp_path):
    tx = optax.chain(optax.add_decayed_weights(0.1), optax.adam(0.1))
    assert not about(to_torch(tmp_path / "a", tx, "adam", weight_decay=0.1).notes, "the chain")
    assert about(to_torch(tmp_path / "b", tx, "adam").notes, "has 1 member more")
    other = to_torch(tmp_path / "c", optax.adam(0.1), "adamw", weight_decay=0.1)
    assert about(other.notes, "fewer members than a rule with weight decay")


def test_a_transformation_that_is_not_known_is_named_whole(tmp_path):
    made = to_torch(tmp_path / "a", optax.chain(optax.adam(0.1), optax.ema(0.9)), "adam")
    assert about(
        made.notes, "[1] (count, ema) has no place on the other side, and the run goes on without it"
    )


def test_momentum_that_comes_last_is_refused(tmp_path):
    with pytest.raises(
        UnsupportedError, match=r"last of its chain.*scaled before.*\n.*chain\(trace, scale_by"
    ):
        to_torch(tmp_path / "a", optax.chain(optax.scale(-0.1), optax.trace(0.9)), "sgd", momentum=0.9)


# Schedules, wrappers, groups.

ALONG = optax.linear_schedule(0.1, 0.0, 100)


@pytest.mark.parametrize(
    ("make", "kind", "more"),
    [
        (lambda: optax.sgd(ALONG, 0.9), "sgd", {"momentum": 0.9}),
        (lambda: optax.adam(ALONG), "adam", {}),
        (lambda: optax.inject_hyperparams(optax.adam)(ALONG), "adam", {}),
    ],
)
def test_a_schedule_is_named(make, kind, more, tmp_path):
    made = to_torch(tmp_path / "a", make(), kind, **more)
    assert about(made.notes, "follows a schedule, which is not in the state, and stands at 2")


def test_injected_hyperparameters_without_a_schedule_are_none(tmp_path):
    state = read(tmp_path / "a", optax.inject_hyperparams(optax.sgd)(0.1, momentum=0.9))
    assert (state.schedule, state.step) == (None, 2)
    made = translate_optimizer(state, "torch")
    assert not about(made.notes, "schedule")
    assert about(made.notes, "taken to be optax's defaults", "nesterov=False")  # no value that is injected


def test_momentum_that_was_scaled_along_a_schedule_is_refused(tmp_path):
    tx = optax.rmsprop(ALONG, eps_in_sqrt=False, momentum=0.9)
    with pytest.raises(
        UnsupportedError, match=r"multiplied by the learning rates of their time.*\n.*scale_by_rms"
    ):
        to_torch(tmp_path / "a", tx, "rmsprop", eps_in_sqrt=False, momentum=0.9)


def test_accumulation_is_named_at_any_point(tmp_path):
    tx = optax.MultiSteps(optax.adam(0.1), 2).gradient_transformation()
    made = to_torch(tmp_path / "a", tx, "adam")
    assert about(made.notes, "MultiSteps", "accumulate as many on the other side")
    assert not about(made.notes, "left behind")


def test_a_condition_is_named(tmp_path):
    tx = optax.conditionally_transform(optax.adam(0.1), lambda step: step > 0)
    assert about(to_torch(tmp_path / "a", tx, "adam").notes, "step has no place on the other side")


def test_hyperparameters_for_several_groups_are_named(tmp_path):
    tx = optax.multi_transform({"a": optax.adam(0.1), "b": optax.adam(0.001)}, labelled)
    assert about(
        to_torch(tmp_path / "a", tx, "adam").notes, "learning_rate: as given, for every group (a, b)"
    )


# What a caller says.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weight_deacy": 0.1}, r"optax's adam has no hyperparameter 'weight_deacy'.*\n.*weight_decay"),
        ({"lr": 0.1}, r"no hyperparameter 'lr'.*\n.*learning_rate"),
        ({"nesterov": True}, r"with nesterov is nadam\n.*kind='nadam'"),
        ({"eps_root": 1e-3}, r"an epsilon under the root"),
        ({"learning_rate": "0.1"}, "learning_rate is a number, not '0.1'"),
        ({"learning_rate": True}, "learning_rate is a number, not True"),
        ({"learning_rate": optax.constant_schedule(0.1)}, "is a number, not <function.*a schedule goes into"),
        ({"b1": "a lot"}, "b1 is a number, not 'a lot'"),
        ({"b1": np.ones(3)}, "is no number"),
    ],
)
def test_hyperparameters_that_the_rule_cannot_have_are_refused(given, message, tmp_path):
    with pytest.raises((UsageError, UnsupportedError), match=message):
        to_torch(tmp_path / "a", optax.adam(0.1), "adam", **given)


@pytest.mark.parametrize("value", [np.float32(0.25), jnp.asarray(0.25), torch.tensor(0.25), 0.25])
def test_numbers_of_any_library_are_numbers(value, tmp_path):
    made = to_torch(tmp_path / "a", optax.adam(0.1), "adam", learning_rate=value)
    assert made.hyperparams["lr"] == 0.25
    assert type(made.hyperparams["lr"]) is float


@pytest.mark.parametrize("kind", ["adopt", "acprop"])
def test_rules_that_keep_the_same_are_candidates(kind, tmp_path):
    state = read(tmp_path / "a.pkl", vars(optax.contrib)[kind](0.1))
    assert kind in state.kind
    with pytest.raises(UnsupportedError, match=r"torch has no .* of its own"):
        translate_optimizer(state, "torch", kind=kind, hyperparams=LR)


# torch.


def test_settings_of_a_third_party_are_named(tmp_path):
    model = TorchMlp()
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.param_groups[0]["correct_bias"] = False
    train_torch(mlp(), model, optimizer, 0, 2)
    torch.optim.lr_scheduler.StepLR(optimizer, 3)  # adds initial_lr, which is understood
    made = translate_optimizer(opened(tmp_path, model, optimizer), "optax")
    assert made.notes == (
        "settings that torch's own adamw does not have are not followed: correct_bias=False",
    )


def test_sums_without_a_gradient_are_not_updated_and_come_home(tmp_path):
    """Adagrad's state is there from the beginning, also of what was never updated."""
    with precision("float64"):
        world = mlp()
        model = world.torch_model()
        model.first.bias.requires_grad_(False)
        optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1, initial_accumulator_value=0.25)
        train_torch(world, model, optimizer, 0, 10)
        save_torch(tmp_path / "a.pth", model, optimizer, 10)
        done = file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack")
        assert about(
            done.receipt.notes, "1 parameters had no gradient so far, and are not updated", "first/bias"
        )
        with transfer(
            tmp_path / "b.msgpack", model, rules=world.plan, reverse=True, with_optimizer=True
        ) as back:
            back.save(tmp_path / "c.pth")
        home = torch.load(tmp_path / "c.pth", weights_only=True)["optimizer_state_dict"]["state"]
        assert [int(home[i]["step"]) for i in range(6)] == [10, 0, 10, 10, 10, 10]
        assert torch.equal(home[1]["sum"], torch.full((16,), 0.25))


def test_a_slot_that_is_no_array_is_refused():
    """A momentum that is a sparse tensor is not one that never was."""
    from ckpt_core.tree import Record

    group = {"lr": 0.1, "momentum": 0.9, "dampening": 0, "params": [0], "param_names": ["table"]}
    sparse = Record("torch.sparse_coo_tensor", {"indices": 1, "values": 2})
    state = read_optimizer({"state": {0: {"momentum_buffer": sparse}}, "param_groups": [group]})
    with pytest.raises(UnsupportedError, match=r"momentum_buffer is no array in one piece.*\n.*to_dense"):
        translate_optimizer(state, "optax")


class Wrapped(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = TorchMlp()


def test_one_state_for_all_parameters_goes_to_no_other_model(tmp_path):
    world = mlp()
    model = world.torch_model()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2)

    def closure():
        optimizer.zero_grad()
        loss = world.torch_loss(model, world.batch(0))
        loss.backward()
        return loss

    optimizer.step(closure)
    save_torch(tmp_path / "a.pth", model, optimizer, 1)
    with pytest.raises(UnsupportedError, match="lbfgs keeps one state for all parameters together"):
        transfer(tmp_path / "a.pth", Wrapped(), with_optimizer=True)


def test_a_rule_that_is_hoped_for_is_checked_within_a_framework_too(tmp_path):
    model = TorchMlp()
    entries = {i: {"step": torch.tensor(1.0), "zing": p.data} for i, p in enumerate(model.parameters())}
    state = {"state": entries, "param_groups": [{"lr": 0.1, "params": list(range(6))}]}
    torch.save({"model": model.state_dict(), "optimizer": state}, tmp_path / "a.pth")
    with pytest.raises(UnsupportedError, match="the state keeps zing, which torch's adam does not"):
        transfer(tmp_path / "a.pth", Wrapped(), with_optimizer=True, optimizer_kind="adam")


def test_the_other_optimizers_are_named(tmp_path):
    world = mlp()
    model = world.torch_model()
    adam = torch.optim.Adam(model.named_parameters())
    train_torch(world, model, adam, 0, 1)
    both = {"optimizer_G": adam.state_dict(), "optimizer_D": torch.optim.SGD(model.parameters()).state_dict()}
    torch.save({"model_state_dict": model.state_dict(), **both}, tmp_path / "a.pth")
    with pytest.raises(UsageError, match=r"holds 2 optimizers: optimizer_G, optimizer_D\n.*--optimizer-name"):
        file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack")
    done = file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack", optimizer_name="optimizer_G")
    assert about(done.receipt.notes, "the other optimizers of the checkpoint are left behind: optimizer_D")


def test_a_count_that_the_state_contradicts_is_refused(tmp_path):
    world = mlp()
    model = world.torch_model()
    optimizer = torch.optim.Adam(model.parameters())
    train_torch(world, model, optimizer, 0, 3)
    save_torch(tmp_path / "a.pth", model, optimizer, 3)
    with pytest.raises(UsageError, match="counts 3 updates, and not 7"):
        file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack", optimizer_step=7)


@pytest.mark.parametrize("container", ["run.msgpack", "run.pkl", "run"])
def test_plain_sgd_crosses_from_any_container(container, tmp_path):
    """It keeps nothing, which is no reason to have no optimizer."""
    state = read(tmp_path / container, optax.sgd(0.1))
    assert (state.kind, state.slots) == ((), {})
    made = translate_optimizer(state, "torch", kind="sgd", hyperparams=LR)
    assert (made.kind, made.hyperparams["momentum"]) == (("sgd",), 0)


def test_labels_without_settings_are_no_hyperparameters(tmp_path):
    tx = optax.multi_transform({"a": optax.adam(0.1), "b": optax.adam(0.1)}, labelled)
    with pytest.raises(UsageError, match="does not hold the learning rate"):
        translate_optimizer(read(tmp_path / "a", tx), "torch", kind="adam")


def test_a_state_that_is_described_says_nothing_of_what_is_known(tmp_path):
    """On the way home the groups, the mask of the weight decay, the limit and the schedule are all told."""
    world = mlp()
    model = world.torch_model()
    named = dict(model.named_parameters())
    groups = [
        {"params": [(name, param) for name, param in named.items() if param.ndim > 1]},
        {"params": [(name, param) for name, param in named.items() if param.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    train_torch(world, model, optimizer, 0, 4, scheduler=scheduler)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save({**state, "scheduler": scheduler.state_dict()}, tmp_path / "a.pth")
    there = file_to_flax(world, tmp_path / "a.pth", tmp_path / "b.msgpack")
    with transfer(tmp_path / "b.msgpack", model, rules=world.plan, reverse=True, with_optimizer=True) as back:
        assert (there.receipt.notes, back.receipt.notes) == ((), ())
