"""A tuple or list of parts, as `pickle.dump((params, opt_state), file)` and `torch.save` leave it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import serialization

from ckpt_core import convert, open_checkpoint

PARAMS = {"linear": {"w": jnp.arange(12.0).reshape(3, 4), "b": jnp.ones(4)}}


def dumped(value: object, folder: Path) -> Path:
    path = folder / "state.pkl"
    path.write_bytes(pickle.dumps(value))
    return path


def names(view) -> list[str]:
    return [name for name, _ in view.leaves()]


def test_weights_an_optax_state_and_settings(tmp_path):
    state = optax.adamw(1e-3).init(PARAMS)
    path = dumped((PARAMS, state, {"epoch": 3, "config": {"lr": 1e-3}}), tmp_path)
    convert(path, tmp_path / "copy.safetensors")
    for name in ("state.pkl", "copy.safetensors"):
        with open_checkpoint(tmp_path / name) as ckpt:
            assert ckpt.layout == "sequence"
            assert names(ckpt.params) == ["linear/w", "linear/b"]
            assert sorted(ckpt.opt_state.slots) == ["mu", "nu"]
            assert (ckpt.epoch, ckpt.config) == (3, {"lr": 1e-3})


def test_a_torch_state_dict_beside_its_optimizer_in_either_order(tmp_path):
    net = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    for pair in ((net.state_dict(), optimizer.state_dict()), [optimizer.state_dict(), net.state_dict()]):
        torch.save(pair, tmp_path / "pair.pth")
        with open_checkpoint(tmp_path / "pair.pth") as ckpt:
            assert (ckpt.layout, ckpt.opt_state.step) == ("sequence", 1)
            assert names(ckpt.params) == ["weight", "bias"]


def test_several_weights_and_states_are_named_by_their_places(tmp_path):
    state = optax.sgd(0.1, momentum=0.9).init(PARAMS)
    with open_checkpoint(dumped([PARAMS, PARAMS, state, state, 7], tmp_path)) as ckpt:
        assert names(ckpt.params) == ["0/linear/w", "0/linear/b", "1/linear/w", "1/linear/b"]
        assert sorted(ckpt.opt_states) == ["optimizer_0", "optimizer_1"]
        assert ckpt.metadata.extra == {"[4]": 7}


class OwnState(NamedTuple):
    """What a script keeps a run in; the file holds its fields by position."""

    params: Any
    opt_state: Any
    step: int
    rng: Any


def test_the_fields_of_a_named_tuple_that_is_not_there(tmp_path):
    state = OwnState(PARAMS, optax.adam(1e-3).init(PARAMS), 5, np.zeros(2, np.uint32))
    with open_checkpoint(dumped(state, tmp_path)) as ckpt:
        assert ckpt.layout == "sequence"
        assert names(ckpt.params) == ["linear/w", "linear/b"]
        assert sorted(ckpt.opt_state.slots) == ["mu", "nu"]
        assert sorted(ckpt.metadata.extra) == ["<args>/[2]", "<args>/[3]"]


def test_the_layers_of_a_model_are_no_parts_of_a_checkpoint(tmp_path):
    layers = [{"w": np.ones((3, 4), np.float32), "b": np.zeros(4, np.float32)} for _ in range(3)]
    with open_checkpoint(dumped(layers, tmp_path)) as ckpt:
        assert ckpt.layout is None
        assert len(ckpt.params.leaves()) == 6


def test_msgpack_keeps_a_tuple_as_a_dict_of_its_places(tmp_path):
    state = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)).init(PARAMS)
    (tmp_path / "state.msgpack").write_bytes(serialization.to_bytes((PARAMS, state, 7)))
    with open_checkpoint(tmp_path / "state.msgpack") as ckpt:
        assert ckpt.layout == "sequence"
        assert sorted(names(ckpt.params)) == ["linear/b", "linear/w"]
        assert sorted(ckpt.opt_state.slots) == ["mu", "nu"]
        assert ckpt.metadata.extra == {"2": 7}
    layers = [(PARAMS["linear"]["w"], PARAMS["linear"]["b"]), (jnp.ones((4, 2)), jnp.ones(2))]
    (tmp_path / "layers.msgpack").write_bytes(serialization.to_bytes(layers))
    with open_checkpoint(tmp_path / "layers.msgpack") as ckpt:
        assert names(ckpt.params) == ["0/0", "0/1", "1/0", "1/1"]


def test_states_of_training_under_names_have_their_own_optimizers(tmp_path):
    state = optax.adam(1e-3).init(PARAMS)
    tree = {"actor": {"params": PARAMS, "opt_state": state}, "critic": {"params": PARAMS, "opt_state": state}}
    tree |= {"target_critic": PARAMS, "step": 9}
    (tmp_path / "state.msgpack").write_bytes(serialization.to_bytes(tree))
    for path in (tmp_path / "state.msgpack", dumped(tree, tmp_path)):
        with open_checkpoint(path) as ckpt:
            assert (ckpt.layout, ckpt.step) == ("states", 9)
            owners = ("actor", "critic", "target_critic")
            assert sorted(names(ckpt.params)) == sorted(f"{o}/linear/{n}" for o in owners for n in "wb")
            assert sorted(ckpt.opt_states) == ["actor", "critic"]
            assert sorted(ckpt.opt_states["critic"].slots) == ["mu", "nu"]


def test_networks_of_torch_each_with_its_optimizer(tmp_path):
    def state():
        net = torch.nn.Linear(2, 3)
        optimizer = torch.optim.Adam(net.parameters())
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        return {"model": net.state_dict(), "optimizer": optimizer.state_dict()}

    torch.save({"generator": state(), "discriminator": state(), "epoch": 4}, tmp_path / "gan.pth")
    with open_checkpoint(tmp_path / "gan.pth") as ckpt:
        assert (ckpt.layout, ckpt.epoch) == ("states", 4)
        assert sorted(ckpt.opt_states) == ["discriminator", "generator"]
        assert sum(array.size for _, array in ckpt.params.leaves()) == 18


def test_plain_jax_keeps_layers_in_lists(tmp_path):
    layers = [(np.ones((4, 8), "f4"), np.zeros(8, "f4")), (np.ones((8, 2), "f4"), np.zeros(2, "f4"))]
    state = optax.adam(1e-3).init(layers)
    for tree in ((layers, state), {"params": layers, "opt_state": state, "step": 3}):
        with open_checkpoint(dumped(tree, tmp_path)) as ckpt:
            assert names(ckpt.params) == ["0/0", "0/1", "1/0", "1/1"]
            assert sorted(ckpt.opt_state.slots) == ["mu", "nu"]
            assert ckpt.step == (3 if isinstance(tree, dict) else None)
    with open_checkpoint(dumped({"params": layers, "epoch": 2}, tmp_path)) as ckpt:
        assert (ckpt.layout, ckpt.epoch, len(names(ckpt.params))) == ("training_dict", 2, 4)
    with open_checkpoint(dumped((PARAMS, layers, 3), tmp_path)) as ckpt:  # data beside named weights
        assert ckpt.layout != "sequence" or names(ckpt.params) == ["linear/w", "linear/b"]


def test_networks_in_a_list_and_under_names_with_one_optimizer(tmp_path):
    net = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    weights, state = net.state_dict(), optimizer.state_dict()
    torch.save(
        {"models": [weights, weights], "optimizers": [state, state], "epoch": 3}, tmp_path / "many.pth"
    )
    with open_checkpoint(tmp_path / "many.pth") as ckpt:
        assert names(ckpt.params) == ["0/weight", "0/bias", "1/weight", "1/bias"]
        assert len(ckpt.opt_states) == 2
    torch.save({"agent": {"actor": weights, "critic": weights, "optimizer": state}}, tmp_path / "agent.pth")
    with open_checkpoint(tmp_path / "agent.pth") as ckpt:
        assert names(ckpt.params) == ["actor/weight", "actor/bias", "critic/weight", "critic/bias"]
        assert ckpt.opt_state.step == 1


def test_statistics_beside_the_weights_are_buffers(tmp_path):
    average = {name: jnp.ones(4) for name in ("counter", "hidden", "average")}
    haiku = {"net/~/linear": PARAMS["linear"], "net/~/norm": {"scale": jnp.ones(4)}}
    averages = {"net/~/norm/~/mean_ema": average, "net/~/norm/~/var_ema": dict(average)}
    flax = {"norm": {"mean": jnp.zeros(4), "var": jnp.ones(4)}}
    for params, statistics, buffers in (
        (haiku, averages, ["net/~/norm/~/mean_ema/counter", "net/~/norm/~/mean_ema/hidden"]),
        (PARAMS, flax, ["norm/mean", "norm/var"]),
    ):
        for rest in ((), (optax.adam(1e-3).init(params),), ({"epoch": 3},)):
            with open_checkpoint(dumped((params, statistics, *rest), tmp_path)) as ckpt:
                assert ckpt.layout == "sequence"
                assert len(ckpt.params.leaves()) == sum(map(len, params.values()))
                assert names(ckpt.buffers)[:2] == buffers
                assert len(ckpt.opt_states) == (1 if rest and isinstance(rest[0], tuple) else 0)


def test_weights_and_nothing_beside_them(tmp_path):
    for rest in ((None,), ({},), ("a name",)):
        with open_checkpoint(dumped((PARAMS, *rest), tmp_path)) as ckpt:
            assert names(ckpt.params) == ["linear/w", "linear/b"]
    with open_checkpoint(dumped((PARAMS, PARAMS), tmp_path)) as ckpt:
        assert names(ckpt.params) == ["0/linear/w", "0/linear/b", "1/linear/w", "1/linear/b"]
