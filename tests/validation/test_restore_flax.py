from __future__ import annotations

import pickle
from typing import Any

import flax.core
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import torch
from flax import linen, nnx
from flax.training.train_state import TrainState

from ckpt_core import restore
from ckpt_core.errors import MismatchError, UsageError

X = jnp.ones((2, 4))


class Net(linen.Module):
    width: int = 3

    @linen.compact
    def __call__(self, x):
        return linen.BatchNorm(use_running_average=True)(linen.Dense(self.width)(x))


class State(TrainState):
    batch_stats: Any


TX = optax.adamw(1e-2)
APPLY = Net().apply


def fresh_state(seed: int) -> State:
    variables = Net().init(jax.random.key(seed), X)
    return State.create(
        apply_fn=APPLY, params=variables["params"], batch_stats=variables["batch_stats"], tx=TX
    )


def step(state: State) -> State:
    def loss(params):
        return jnp.sum(state.apply_fn({"params": params, "batch_stats": state.batch_stats}, X) ** 2)

    return state.apply_gradients(grads=jax.grad(loss)(state.params))


def save_orbax(path, tree):
    with ocp.StandardCheckpointer() as saver:
        saver.save(path.absolute(), tree)
        saver.wait_until_finished()


def save_msgpack(path, tree):
    path.write_bytes(flax.serialization.to_bytes(tree))


def save_pickle(path, tree):
    path.write_bytes(pickle.dumps(jax.tree.map(np.asarray, flax.serialization.to_state_dict(tree))))


SAVE = {"orbax": save_orbax, "msgpack": save_msgpack, "pickle": save_pickle}


def same(a, b) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: np.array_equal(np.asarray(x), np.asarray(y)), a, b))


@pytest.fixture
def trained() -> State:
    state = fresh_state(0)
    for _ in range(3):
        state = step(state)
    return state


@pytest.mark.parametrize("container", SAVE)
@pytest.mark.parametrize("abstract", [False, True])
def test_a_train_state_goes_on_bit_identically(container, abstract, trained, tmp_path):
    SAVE[container](tmp_path / "c", trained)
    like = jax.eval_shape(lambda: fresh_state(1)) if abstract else fresh_state(1)
    restored = restore(tmp_path / "c", like)
    assert type(restored.model) is State
    assert same(restored.model, trained)
    assert same(step(restored.model), step(trained))
    assert restored.with_optimizer
    assert restored.step == 3
    if not abstract:
        assert not same(like, trained), "what was passed in stays as it was"


@pytest.mark.parametrize("container", SAVE)
def test_variables_come_out_of_a_train_state(container, trained, tmp_path):
    SAVE[container](tmp_path / "c", trained)
    variables = Net().init(jax.random.key(7), X)
    wanted = {"params": trained.params, "batch_stats": trained.batch_stats}
    assert same(restore(tmp_path / "c", variables).model, wanted)
    assert same(restore(tmp_path / "c", (Net(), variables)).model, wanted)
    frozen = restore(tmp_path / "c", flax.core.freeze(variables)).model
    assert isinstance(frozen, flax.core.FrozenDict)
    restored = restore(tmp_path / "c", variables, TX.init(variables["params"]))
    assert same(restored.optimizer, trained.opt_state)


def test_weights_alone_do_not_fill_a_train_state(trained, tmp_path):
    save_msgpack(tmp_path / "w", {"params": trained.params, "batch_stats": trained.batch_stats})
    like = fresh_state(1)
    with pytest.raises(
        MismatchError, match=r"(?s)nothing in the checkpoint, 10 arrays.*partial=\['optimizer/\*\*'\]"
    ):
        restore(tmp_path / "w", like)
    restored = restore(tmp_path / "w", like, partial="optimizer/**")
    assert same(restored.model.params, trained.params)
    assert same(restored.model.opt_state, like.opt_state)


def test_another_optimizer_is_refused(trained, tmp_path):
    save_msgpack(tmp_path / "c", trained)
    like = State.create(
        apply_fn=APPLY,
        params=trained.params,
        batch_stats=trained.batch_stats,
        tx=optax.sgd(0.1, momentum=0.9),
    )
    with pytest.raises(
        MismatchError, match=r"optimizer: nothing in the checkpoint, .* @ optimizer/opt_state/0/trace"
    ):
        restore(tmp_path / "c", like)
    with pytest.raises(UsageError, match=r"(?s)an optax transformation keeps no state.*tx\.init\(params\)"):
        restore(tmp_path / "c", {"params": trained.params}, TX, partial="**/mean")


def test_the_state_of_a_torch_optimizer_is_carried_over_and_not_restored(trained, tmp_path):
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    torch.save(
        {"model": layer.state_dict(), "optimizer": optimizer.state_dict(), "step": 1}, tmp_path / "a.pth"
    )
    with pytest.raises(MismatchError, match=r"--to flax --with-optimizer --out OUT") as raised:
        restore(tmp_path / "a.pth", trained)
    (problem,) = [problem for problem in raised.value.report.problems if problem.kind == "optimizer"]
    assert (problem.found, problem.expected) == ("a state of torch's (adamw)", "one of optax's")
    save_msgpack(tmp_path / "b.msgpack", trained)
    with pytest.raises(MismatchError, match="a state of optax's"):
        restore(tmp_path / "b.msgpack", layer, torch.optim.AdamW(layer.parameters()))


def test_a_mismatch_names_both_sides(trained, tmp_path):
    save_orbax(tmp_path / "c", trained)
    variables = jax.eval_shape(Net(5).init, jax.random.key(0), X)
    with pytest.raises(
        MismatchError, match=r"float32\[4, 3\] in the checkpoint, float32\[4, 5\] in the model"
    ):
        restore(tmp_path / "c", variables)


def test_partial_needs_values_where_nothing_is_filled_in(trained, tmp_path):
    save_msgpack(tmp_path / "c", {"params": {"Dense_0": trained.params["Dense_0"]}})
    variables = Net().init(jax.random.key(3), X)
    kept = restore(tmp_path / "c", variables, partial="BatchNorm_0/**").model
    assert same(kept["batch_stats"], variables["batch_stats"])
    assert same(kept["params"]["Dense_0"], trained.params["Dense_0"])
    abstract = jax.eval_shape(Net().init, jax.random.key(0), X)
    with pytest.raises(UsageError, match=r"4 arrays made by jax\.eval_shape would get no value"):
        restore(tmp_path / "c", abstract, partial="BatchNorm_0/**")


def test_shardings_and_devices(trained, tmp_path):
    save_orbax(tmp_path / "c", trained)
    mesh = jax.sharding.Mesh(jax.devices(), ("data",))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    variables = Net().init(jax.random.key(7), X)
    for sharding in (whole, jax.tree.map(lambda _: whole, variables)):
        model = restore(tmp_path / "c", variables, sharding=sharding).model
        assert all(leaf.sharding == whole for leaf in jax.tree.leaves(model))
    placed = jax.device_put(variables, whole)
    model = restore(tmp_path / "c", placed).model
    assert all(leaf.sharding == whole for leaf in jax.tree.leaves(model))
    model = restore(tmp_path / "c", variables, device="cpu:0").model
    assert all(leaf.devices() == {jax.devices("cpu")[0]} for leaf in jax.tree.leaves(model))
    assert restore(tmp_path / "c", variables, device="auto").device == str(jax.devices()[0])
    with pytest.raises(UsageError, match="there is no device 'gpu' here"):
        restore(tmp_path / "c", variables, device="gpu")
    with pytest.raises(UsageError, match="sharding= is no tree like the model"):
        restore(tmp_path / "c", variables, sharding={"params": whole})
    with pytest.raises(UsageError, match="exclude each other"):
        restore(tmp_path / "c", variables, sharding=whole, device="cpu")


def test_dtypes_stay_or_are_cast(trained, tmp_path):
    save_msgpack(tmp_path / "c", {"params": trained.params, "batch_stats": trained.batch_stats})
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), Net().init(jax.random.key(1), X))
    with pytest.raises(
        MismatchError, match=r"float32\[4, 3\] in the checkpoint, bfloat16\[4, 3\] in the model"
    ):
        restore(tmp_path / "c", half)
    model = restore(tmp_path / "c", half, dtypes="cast").model
    assert model["params"]["Dense_0"]["kernel"].dtype == jnp.bfloat16


def test_linen_models_have_no_mode(trained, tmp_path):
    save_msgpack(tmp_path / "c", trained)
    with pytest.raises(UsageError, match="A linen model has no mode"):
        restore(tmp_path / "c", Net().init(jax.random.key(0), X), mode="eval")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Net, r"(?s)Net is a class, not a model.*module\.init\(jax\.random\.key\(0\), INPUTS\)"),
        (Net(), r"(?s)a linen Net holds no arrays of its own.*jax\.eval_shape\(module\.init"),
        (State, r"(?s)State is a class.*State\.create"),
    ],
)
def test_what_is_no_model_says_how_to_make_one(model, message, tmp_path, trained):
    save_msgpack(tmp_path / "c", trained)
    with pytest.raises(UsageError, match=message):
        restore(tmp_path / "c", model)


# NNX


class Block(nnx.Module):
    def __init__(self, width: int, rngs: nnx.Rngs) -> None:
        self.dense = nnx.Linear(4, width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(2)])

    def __call__(self, x):
        x = self.norm(self.dense(x))
        for layer in self.layers:
            x = layer(x)
        return self.drop(x)


def arrays_of(state) -> dict[str, Any]:
    return jax.tree.map(
        lambda leaf: np.asarray(
            jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        ),
        nnx.to_pure_dict(state),
    )


def nnx_trained(seed: int = 0):
    model = Block(3, nnx.Rngs(seed))
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
    return model, optimizer


def nnx_step(model, optimizer) -> None:
    gradients = nnx.grad(lambda net: jnp.sum(net(X) ** 2))(model)
    optimizer.update(model, gradients)


def test_an_nnx_model_and_its_optimizer_go_on_bit_identically(tmp_path):
    model, optimizer = nnx_trained()
    nnx_step(model, optimizer)
    tree = {"model": arrays_of(nnx.state(model)), "optimizer": arrays_of(nnx.state(optimizer)), "epoch": 4}
    (tmp_path / "c.pkl").write_bytes(pickle.dumps(tree))
    fresh, other = nnx_trained(9)
    restored = restore(tmp_path / "c.pkl", fresh, other)
    assert restored.model is fresh
    assert restored.optimizer is other
    nnx_step(model, optimizer)
    nnx_step(fresh, other)
    for mine, judge in ((fresh, model), (other, optimizer)):
        assert same(arrays_of(nnx.state(mine)), arrays_of(nnx.state(judge))), "random streams among them"


def test_an_abstract_nnx_model_becomes_a_real_one(tmp_path):
    model, _ = nnx_trained()
    save_orbax(tmp_path / "c", nnx.state(model))
    hollow = nnx.eval_shape(lambda: Block(3, nnx.Rngs(0)))
    restore(tmp_path / "c", hollow)
    assert same(arrays_of(nnx.state(hollow)), arrays_of(nnx.state(model)))
    assert np.array_equal(hollow(X), model(X))


def test_nnx_modes(tmp_path):
    model, _ = nnx_trained()
    save_orbax(tmp_path / "c", nnx.state(model))
    fresh, _ = nnx_trained(1)
    assert restore(tmp_path / "c", fresh).mode == "as it was"
    assert not fresh.drop.deterministic
    assert restore(tmp_path / "c", fresh, mode="eval").mode == "eval"
    assert fresh.drop.deterministic
    assert fresh.norm.use_running_average


def test_an_nnx_model_that_does_not_fit_is_as_it_was(tmp_path):
    model, _ = nnx_trained()
    save_orbax(tmp_path / "c", nnx.state(model))
    other = Block(5, nnx.Rngs(2))
    before = arrays_of(nnx.state(other))
    with pytest.raises(
        MismatchError, match=r"float32\[4, 3\] in the checkpoint, float32\[4, 5\] in the model"
    ):
        restore(tmp_path / "c", other)
    assert same(before, arrays_of(nnx.state(other)))
