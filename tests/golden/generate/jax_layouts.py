"""Files of Equinox 0.13.8, Haiku 0.0.17, and of Flax 0.12.8 by Orbax 0.12.8; big_vision's npz.

python3.11 -m venv c && c/bin/pip install jax==0.10.2 flax==0.12.8 optax==0.2.8 equinox==0.13.8 dm-haiku==0.0.17 \\
    orbax-checkpoint==0.12.8
c/bin/python jax_layouts.py

big_vision cannot be installed; its file is what `big_vision/utils.py` (`save_checkpoint`) makes of such a tree: one
array for each leaf, under the names that its `tree_flatten_with_names` gives.
"""

from __future__ import annotations

import json
import pickle
from typing import Any

import equinox as eqx
import flax
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import linen, nnx
from flax.training import train_state
from layouts import ROOT, digests, meaning, target

JAX = f"jax {jax.__version__}"


def named(tree: Any) -> dict[str, Any]:
    """Return the leaves of nested dicts by name."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        "/".join(str(getattr(k, "key", getattr(k, "idx", k))) for k in path): leaf for path, leaf in leaves
    }


def equinox() -> None:
    how = f"equinox {eqx.__version__}, {JAX}"
    net = eqx.nn.MLP(2, 3, 4, 1, key=jax.random.PRNGKey(0))
    leaves = [leaf for leaf in jax.tree.leaves(net) if eqx.is_array_like(leaf)]
    numbered = {str(i): np.asarray(leaf) for i, leaf in enumerate(leaves)}
    eqx.tree_serialise_leaves(target("equinox/0.13_model.eqx"), net)
    meaning("equinox/0.13_model.eqx", how=how, layout="equinox", params=digests(numbered))

    halves = jax.tree.map(lambda x: x.astype(jnp.bfloat16) if eqx.is_array(x) else x, net)
    leaves = [leaf for leaf in jax.tree.leaves(halves) if eqx.is_array_like(leaf)]
    settings = {"in_size": 2, "out_size": 3, "width_size": 4, "depth": 1}
    with open(target("equinox/0.13_hyperparameters.eqx"), "wb") as file:
        file.write((json.dumps(settings) + "\n").encode())
        eqx.tree_serialise_leaves(file, halves)
    numbered = {str(i): np.asarray(leaf) for i, leaf in enumerate(leaves)}
    meaning(
        "equinox/0.13_hyperparameters.eqx",
        how=how,
        layout="equinox",
        params=digests(numbered),
        config=settings,
    )

    mixed = {
        "a": jnp.arange(6.0).reshape(2, 3),
        "b": 3,
        "c": 1.5,
        "d": np.ones(2, ">f4"),
        "e": jnp.zeros((0, 2)),
    }
    eqx.tree_serialise_leaves(target("equinox/0.13_mixed.eqx"), mixed)
    values = [mixed["a"], np.asarray(3), np.asarray(1.5), np.ones(2, "<f4"), mixed["e"]]
    meaning(
        "equinox/0.13_mixed.eqx",
        how=how,
        layout="equinox",
        params=digests({str(i): v for i, v in enumerate(values)}),
    )


def haiku() -> None:
    how = f"dm-haiku {hk.__version__}, {JAX}"

    class Net(hk.Module):
        """A linear layer made in the constructor, and a batch norm."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = hk.Linear(3)

        def __call__(self, x: jax.Array) -> jax.Array:
            return hk.BatchNorm(True, True, 0.9)(self.inner(x), is_training=True)

    net = hk.transform_with_state(lambda x: Net()(x))
    params, state = net.init(jax.random.PRNGKey(0), jnp.ones((4, 2)))
    opt_state = optax.adam(0.1).init(params)
    params, state = jax.tree.map(np.asarray, (dict(params), dict(state)))
    target("haiku/0.0.17_params.pkl").write_bytes(pickle.dumps(params))
    meaning("haiku/0.0.17_params.pkl", how=how, layout="haiku", params=digests(named(params)))
    tree = {"params": params, "state": state, "opt_state": jax.tree.map(np.asarray, opt_state), "step": 12}
    target("haiku/0.0.17_state.pkl").write_bytes(pickle.dumps(tree))
    meaning(
        "haiku/0.0.17_state.pkl", how=how, layout="haiku", params=digests(named(params)),
        buffers=digests(named(state)), step=12, opt_states={"opt_state": [["adam"], 0]},
    )  # fmt: skip


class Net(nnx.Module):
    """Two linear layers, a batch norm and dropout."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(2, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)


def of_flax() -> None:
    how = f"flax {flax.__version__}, orbax-checkpoint {ocp.__version__}, {JAX}"
    net = Net(nnx.Rngs(0))
    params, others = nnx.state(net, nnx.Param), nnx.state(net, nnx.BatchStat)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(target("flax/0.12_nnx"), nnx.state(net))
    buffers = {name.removesuffix("/value"): leaf for name, leaf in named(others.to_pure_dict()).items()}
    for name, leaf in named(nnx.to_pure_dict(nnx.state(net, nnx.RngState))).items():
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        buffers[f"{name}/data" if is_key else name] = jax.random.key_data(leaf) if is_key else leaf
    without_folder("flax/0.12_nnx")
    meaning(
        "flax/0.12_nnx",
        how=how,
        layout="nnx_state",
        params=digests(named(params.to_pure_dict())),
        buffers=digests(buffers),
    )

    class State(train_state.TrainState):
        """A TrainState with batch statistics, an average and a key."""

        batch_stats: Any
        ema_params: Any
        key: Any

    model = linen.Sequential([linen.Dense(3), linen.BatchNorm(use_running_average=False)])
    variables = model.init(jax.random.PRNGKey(1), jnp.ones((2, 2)))
    state = State.create(
        apply_fn=model.apply, params=variables["params"], tx=optax.adamw(0.1), batch_stats=variables["batch_stats"],
        ema_params=jax.tree.map(lambda x: x / 2, variables["params"]), key=jax.random.PRNGKey(5),
    ).replace(step=jnp.asarray(7))  # fmt: skip
    options = ocp.CheckpointManagerOptions(best_fn=lambda metrics: metrics["val_loss"], best_mode="min")
    with ocp.CheckpointManager(target("flax/0.12_manager"), options=options) as manager:
        manager.save(7, args=ocp.args.StandardSave(state), metrics={"val_loss": 0.25})
    without_folder("flax/0.12_manager")
    meaning(
        "flax/0.12_manager", how=how, layout="items", params=digests(named(variables["params"])),
        buffers=digests(named(variables["batch_stats"])), copies={"ema_params": digests(named(state.ema_params))},
        step=7, metrics={"val_loss": 0.25}, rng=["key"], opt_states={"opt_state": [["adamw"], 0]},
    )  # fmt: skip


def big_vision() -> None:
    """`np.savez(file, **{name: leaf})` of params, opt and chrono, as big_vision's save_checkpoint does."""
    model = linen.Dense(3)
    params = model.init(jax.random.PRNGKey(1), jnp.ones((2, 2)))["params"]
    checkpoint = {
        "params": {"head": params},
        "opt": optax.adam(0.1).init({"head": params}),
        "chrono": {"accum_train_time": 3.5},
    }
    flat = {
        "/".join(str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path): np.asarray(
            leaf
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(checkpoint)
    }
    np.savez(target("big_vision/checkpoint.npz"), **flat)
    meaning(
        "big_vision/checkpoint.npz", how=f"numpy {np.__version__}, by the form of big_vision/utils.py", layout="big_vision",
        params=digests(named({"head": params})), opt_states={"opt": [["adam"], 0]}, extra=["chrono\\/accum_train_time"],
    )  # fmt: skip


def without_folder(name: str) -> None:
    """Take the folder of the machine out of what Orbax wrote."""
    for path in (ROOT / name).rglob("commit_success.txt"):
        path.write_text(path.read_text().replace(str(ROOT), "/checkpoints"))


if __name__ == "__main__":
    equinox()
    haiku()
    of_flax()
    big_vision()
