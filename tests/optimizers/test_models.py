"""Whole runs: groups, masks, clipping, warm-up, tied and frozen weights on three models; and wrong converters."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from ckpt_flax.bridge import recipes
from ckpt_flax.transforms import torch_clip_by_global_norm
from optimizers.crossing import (
    InFlax,
    as_flax,
    deviation,
    file_to_flax,
    load_flax,
    save_torch,
    to_flax,
    to_torch,
)
from optimizers.worlds import conv, mlp, precision, stepper, train_flax, train_torch, transformer

from ckpt_core import open_checkpoint
from ckpt_core.transfer import transfer

WORLDS = {"mlp": mlp, "conv": conv, "transformer": transformer}
CLIP = 0.5


def decaying_groups(model: torch.nn.Module) -> list[dict]:
    """Matrices decay, the rest does not; the rest comes second, as many trainers order them."""
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": decay}, {"params": rest, "weight_decay": 0.0}]


def warm_up(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    schedulers = torch.optim.lr_scheduler
    rising = schedulers.LinearLR(optimizer, start_factor=0.1, total_iters=30)
    return schedulers.SequentialLR(optimizer, [rising, schedulers.CosineAnnealingLR(optimizer, 200)], [30])


def started(name: str, steps: int = 15):
    """A run in torch with groups, clipping and a warm-up schedule."""
    world = WORLDS[name]()
    model = world.torch_model()
    optimizer = torch.optim.AdamW(decaying_groups(model), lr=0.01, weight_decay=0.1)
    scheduler = warm_up(optimizer)
    train_torch(world, model, optimizer, 0, steps, clip=CLIP, scheduler=scheduler)
    return world, model, optimizer, scheduler


def crossed(world, folder, model, optimizer, scheduler, to="state.msgpack"):
    """Cross with the schedule, and clip on the other side as torch does."""
    torch.save(
        {
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "scheduler_state_dict": scheduler.state_dict(),
        },
        folder / "from.pth",
    )
    done = file_to_flax(world, folder / "from.pth", folder / to)
    run = load_flax(world, folder / to, recipes.build(done.suggestion.recipe))
    run = dataclasses.replace(run, carried=done.training.carried)
    clip = torch_clip_by_global_norm(CLIP)
    return dataclasses.replace(
        run, tx=optax.chain(clip, run.tx), opt_state=(optax.EmptyState(), run.opt_state)
    )


@pytest.mark.parametrize("name", WORLDS)
def test_a_whole_run_crosses(name, tmp_path):
    with precision("float64"):
        world, model, optimizer, scheduler = started(name)
        run = crossed(
            world, tmp_path, model, optimizer, scheduler, "orbax" if name == "conv" else "state.msgpack"
        )
        there = train_flax(world, stepper(world, run.tx), run.state, 15, 100)
        train_torch(world, model, optimizer, 15, 100, clip=CLIP, scheduler=scheduler)
        assert deviation(there[0], as_flax(world, model)) < 1e-9


@pytest.mark.parametrize("name", WORLDS)
def test_float32_stays_within_the_drift_of_fresh_starts(name, tmp_path):
    """Two fresh starts in the two frameworks drift apart by rounding; a crossing adds no more, a lost state much."""
    with precision("float32"):
        world = WORLDS[name]()
        model = world.torch_model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
        fresh = to_flax(world, tmp_path, model, optimizer, to="fresh.msgpack")
        step = stepper(world, fresh.tx)
        beside = train_flax(world, step, fresh.state, 0, 120)
        train_torch(world, model, optimizer, 0, 20)
        run = to_flax(world, tmp_path, model, optimizer)
        there = train_flax(world, step, run.state, 20, 100)
        lost = train_flax(world, step, (run.params, run.rest, run.tx.init(run.params)), 20, 100)
        train_torch(world, model, optimizer, 20, 100)
        stayed = as_flax(world, model)
        drift = deviation(beside[0], stayed)
        assert deviation(there[0], stayed) < 3 * drift
        assert deviation(lost[0], stayed) > 100 * drift


# Wrong converters: each is a mistake that people make, and each must be seen.


def count_off_by_one(opt_state):
    return jax.tree.map(lambda x: x + 1 if x.dtype == jnp.int32 else x, opt_state)


def square_moments_not_transposed(opt_state):
    return jax.tree.map(lambda x: x.T if x.ndim == 2 and x.shape[0] == x.shape[1] else x, opt_state)


def flatten_permutation_missed(opt_state):
    """The head's slots as if features were flattened in torch's order."""

    def wrong(path, x):
        if "head" not in jax.tree_util.keystr(path) or x.ndim != 2:
            return x
        return x.reshape(3, 2, 6, 3).transpose(2, 0, 1, 3).reshape(36, 3)

    return jax.tree_util.tree_map_with_path(wrong, opt_state)


def moments_swapped(opt_state):
    def swapped(node):
        return node._replace(mu=node.nu, nu=node.mu) if isinstance(node, optax.ScaleByAdamState) else node

    return jax.tree.map(swapped, opt_state, is_leaf=lambda node: isinstance(node, optax.ScaleByAdamState))


WRONG_STATES = [
    ("mlp", count_off_by_one),
    ("mlp", square_moments_not_transposed),
    ("transformer", square_moments_not_transposed),
    ("conv", flatten_permutation_missed),
    ("mlp", moments_swapped),
]


@pytest.mark.parametrize(("name", "mistake"), WRONG_STATES)
def test_a_wrong_state_is_seen(name, mistake, tmp_path):
    with precision("float64"):
        world, model, optimizer, scheduler = started(name)
        run = crossed(world, tmp_path, model, optimizer, scheduler)
        wrong = mistake(run.opt_state)
        there = train_flax(world, stepper(world, run.tx), (run.params, run.rest, wrong), 15, 20)
        train_torch(world, model, optimizer, 15, 20, clip=CLIP, scheduler=scheduler)
        assert not deviation(there[0], as_flax(world, model)) < 1e-6


def decay_for_the_others(params):
    return jax.tree.map(lambda x: x.ndim < 2, params)


def decay_for_all(params):
    return jax.tree.map(lambda _: True, params)


@pytest.mark.parametrize("mask", [decay_for_the_others, decay_for_all])
def test_a_wrong_mask_is_seen(mask, tmp_path):
    """Groups swapped: the decay for those that had none."""
    with precision("float64"):
        world, model, optimizer, _ = started("mlp")
        run = to_flax(world, tmp_path, model, optimizer)
        rate = optimizer.param_groups[0]["lr"]
        tx = optax.adamw(rate, weight_decay=0.1, mask=mask)
        there = train_flax(world, stepper(world, tx), run.state, 15, 20)
        train_torch(world, model, optimizer, 15, 20)
        assert not deviation(there[0], as_flax(world, model)) < 1e-6


def test_decay_moved_before_the_rule_is_seen(tmp_path):
    """AdamW's decay as an L2 term: the state fits, the rule does not."""
    with precision("float64"):
        world = mlp()
        model = world.torch_model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
        train_torch(world, model, optimizer, 0, 15)
        run = to_flax(world, tmp_path, model, optimizer)
        tx = optax.chain(optax.add_decayed_weights(0.1), optax.adam(0.01))
        state = (optax.EmptyState(), (run.opt_state[0], optax.EmptyState()))
        there = train_flax(world, stepper(world, tx), (run.params, run.rest, state), 15, 20)
        train_torch(world, model, optimizer, 15, 20)
        assert not deviation(there[0], as_flax(world, model)) < 1e-6


# Groups.


def test_groups_of_different_rates_and_frozen_weights(tmp_path):
    with precision("float64"):
        world = mlp()
        model = world.torch_model()
        model.second.requires_grad_(False)
        groups = [
            {"params": model.last.parameters(), "lr": 0.02},
            {"params": [*model.first.parameters(), *model.second.parameters()]},
        ]
        optimizer = torch.optim.Adam([dict(g, params=list(g["params"])) for g in groups], lr=0.01)
        named = [
            [(n, p) for n, p in model.named_parameters() if any(p is q for q in g["params"])]
            for g in optimizer.param_groups
        ]
        optimizer = torch.optim.Adam([{"params": named[0], "lr": 0.02}, {"params": named[1]}], lr=0.01)
        train_torch(world, model, optimizer, 0, 10)
        run = to_flax(world, tmp_path, model, optimizer)
        assert "optax.set_to_zero()" in run.carried.suggestion.code
        assert any("second/weight" in note or "second/kernel" in note for note in run.carried.state.notes)
        step = stepper(world, run.tx)
        there = train_flax(world, step, run.state, 10, 100)
        train_torch(world, model, optimizer, 10, 100)
        assert deviation(there[0], as_flax(world, model)) < 1e-9
        back = to_torch(
            world,
            tmp_path,
            InFlax(*there, run.tx),
            optimizer_kind="adam",
            hyperparams={"learning_rate": 0.01},
        )
        assert [len(group["params"]) for group in back.optimizer.param_groups] == [2, 2]


def test_muon_updates_matrices_and_nothing_else(tmp_path):
    """torch's Muon takes matrices alone; the biases, which it was not given, stay on the other side too."""
    with precision("float32"):
        world = mlp()
        model = world.torch_model()
        matrices = [(name, p) for name, p in model.named_parameters() if p.ndim == 2]
        optimizer = torch.optim.Muon(matrices, lr=0.01, weight_decay=0.1)
        train_torch(world, model, optimizer, 0, 5)
        run = to_flax(world, tmp_path, model, optimizer)
        assert "optax.set_to_zero()" in run.carried.suggestion.code
        assert any(
            "3 parameters are in no group of the optimizer" in note for note in run.carried.state.notes
        )
        there = train_flax(world, stepper(world, run.tx), run.state, 5, 5)
        train_torch(world, model, optimizer, 5, 5)
        assert deviation(there[0], as_flax(world, model)) < 1e-3


def test_parameters_updated_a_different_number_of_times(tmp_path):
    """torch counts for each parameter; optax for each group, so that one group becomes two."""
    with precision("float64"):
        world = mlp()
        model = world.torch_model()
        optimizer = torch.optim.Adam(model.named_parameters(), lr=0.01)
        model.last.requires_grad_(False)
        train_torch(world, model, optimizer, 0, 7)
        model.last.requires_grad_(True)
        train_torch(world, model, optimizer, 7, 5)
        run = to_flax(world, tmp_path, model, optimizer)
        there = train_flax(world, stepper(world, run.tx), run.state, 12, 50)
        train_torch(world, model, optimizer, 12, 50)
        assert deviation(there[0], as_flax(world, model)) < 1e-9


# Structures that a program built.


def test_a_train_state_is_filled_in_its_own_structure(tmp_path):
    from flax.training.train_state import TrainState

    world, model, optimizer, _ = started("mlp")
    save_torch(tmp_path / "from.pth", model, optimizer, 15)
    params = world.flax_init()["params"]

    def kernels(tree):
        return {layer: {name: name == "kernel" for name in leaves} for layer, leaves in tree.items()}

    tx = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.apply_if_finite(
            optax.inject_hyperparams(optax.adamw, static_args="mask")(0.5, weight_decay=0.5, mask=kernels), 3
        ),
    )
    like = TrainState.create(apply_fn=None, params=params, tx=tx)
    with transfer(tmp_path / "from.pth", like, rules=world.plan, with_optimizer=True) as done:
        done.save(tmp_path / "state.msgpack")
    import flax.serialization

    filled = flax.serialization.from_bytes(like, (tmp_path / "state.msgpack").read_bytes())
    inner = filled.opt_state[1].inner_state
    assert int(filled.step) == 15
    assert int(inner.inner_state[0].count) == int(inner.count) == 15
    assert float(inner.hyperparams["learning_rate"]) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert float(inner.hyperparams["weight_decay"]) == pytest.approx(0.1)
    ours = as_flax(world, model)
    assert jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), filled.params, ours))
    mu = inner.inner_state[0].mu["second"]["kernel"]
    assert np.array_equal(mu, optimizer.state[model.second.weight]["exp_avg"].numpy().T)


def test_a_live_torch_optimizer_gets_its_own_groups(tmp_path):
    with precision("float32"):
        world = mlp()
        variables = world.flax_init()
        tx = optax.adam(0.01)
        state = train_flax(
            world, stepper(world, tx), (variables["params"], {}, tx.init(variables["params"])), 0, 5
        )
        from optimizers.crossing import save_flax

        save_flax(tmp_path / "run", InFlax(*state, tx), 5)
        model = world.torch_model()
        live = torch.optim.Adam(
            [
                {"params": model.last.parameters()},
                {"params": [*model.first.parameters(), *model.second.parameters()]},
            ],
            lr=0.5,
        )
        with transfer(
            tmp_path / "run",
            model,
            rules=world.plan,
            reverse=True,
            optimizer=live,
            optimizer_kind="adam",
            hyperparams={"learning_rate": 0.01},
        ) as done:
            done.save(tmp_path / "out.pth")
        live.load_state_dict(torch.load(tmp_path / "out.pth", weights_only=True)["optimizer_state_dict"])
        assert [len(group["params"]) for group in live.param_groups] == [2, 4]
        assert live.param_groups[0]["lr"] == 0.01
        expected = np.asarray(state[2][0].mu["last"]["kernel"]).T
        assert np.array_equal(live.state[model.last.weight]["exp_avg"].numpy(), expected)


def test_the_checkpoint_of_a_transfer_says_what_it_holds(tmp_path):
    world, model, optimizer, _ = started("mlp")
    save_torch(tmp_path / "from.pth", model, optimizer, 15)
    file_to_flax(world, tmp_path / "from.pth", tmp_path / "state.msgpack")
    with open_checkpoint(tmp_path / "state.msgpack") as ckpt:
        state = ckpt.opt_state
        assert (state.kind, state.step, ckpt.step) == (("adamw",), 15, 15)
        assert [group["weight_decay"] for group in state.groups] == [0.1, 0.0]
        assert state.hyperparams["learning_rate"] == pytest.approx(optimizer.param_groups[0]["lr"])
