"""Golden pickles of jax, flax and optax states.

python3.11: jax==0.10.2 flax==0.12.8 optax==0.2.8 cloudpickle==3.1.2 numpy==2.4.6
python3.10: jax==0.5.3 jaxlib==0.5.3 flax==0.10.4 optax==0.2.4 numpy==2.2.6
python3.9:  jax==0.4.13 jaxlib==0.4.13 flax==0.7.0 optax==0.1.7 numpy==1.24.4
python3.8:  jax==0.4.13 jaxlib==0.4.13 flax==0.3.0 numpy==1.22.4 (FrozenDict and flax.optim of 2021)
each: bin/python jax_states.py
"""

from __future__ import annotations

import pickle
import sys
import types

import flax
import jax
import numpy as np
from flax.core import FrozenDict
from golden import Arr, Opaque, Rec, arr, expect, of, target, without_paths
from jax_tree import from_jax, neutral, put, train_state

jax.config.update("jax_enable_x64", True)
VERSION = ".".join(jax.__version__.split(".")[:3])
FLAX = flax.__version__ if hasattr(flax, "__version__") else "0.3.0"
HOW = f"jax {jax.__version__}, flax {FLAX}, numpy {np.__version__}"


def write(name, data, tree, **more):
    target(f"pickle/{name}").write_bytes(data)
    expect(f"pickle/{name}", tree, **{"how": HOW, **more})


def arrays():
    names = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128"
    names += " float8_e4m3fn float8_e5m2 float8_e4m3b11fnuz" if VERSION >= "0.4" else ""
    if VERSION.startswith(("0.5", "0.10")):
        names += " int4 uint4 float8_e4m3fnuz float8_e5m2fnuz"
    if VERSION.startswith("0.10"):
        names += " int2 uint2 float8_e8m0fnu float4_e2m1fn"
    made = {name: arr(f"jax/{name}", name, (2, 3)) for name in names.split()}
    made["zero_d"], made["empty"] = arr("jax/0", "float32", ()), Arr("float32", (0, 3), b"")
    value, tree = (
        {key: put(child) for key, child in made.items()},
        {key: from_jax(child) for key, child in made.items()},
    )
    value["weak"], tree["weak"] = jax.numpy.asarray(1.5), of(np.asarray(1.5))
    value["key"] = jax.random.PRNGKey(42)
    tree["key"] = Arr("uint32", (2,), np.array([0, 42], "<u4").tobytes())
    value["frozen"] = FrozenDict({"params": {"kernel": value["float32"]}, "empty": {}})
    tree["frozen"] = Rec(
        "flax.core.frozen_dict.FrozenDict", {"empty": {}, "params": {"kernel": made["float32"]}}
    )  # sorted by its own unfreeze
    if hasattr(jax.random, "key"):
        value["typed_key"] = jax.random.key(42)
        tree["typed_key"] = Opaque(None, [tree["key"]])
        many = jax.random.key(1) if VERSION == "0.4.13" else jax.random.key(1, impl="rbg")
        value["typed_keys"] = jax.random.split(many, 2)
        data = jax.random.key_data(value["typed_keys"]) if hasattr(jax.random, "key_data") else None
        data = value["typed_keys"].unsafe_raw_array() if data is None else data
        tree["typed_keys"] = Opaque(None, [of(np.asarray(data))])
    return value, tree


def structures():
    """Avals, treedefs and specs, which states carry beside their arrays."""
    core = jax.core if hasattr(jax.core, "ShapedArray") else __import__("jax._src.core", fromlist=["core"])
    value = {
        "aval": core.ShapedArray((2, 3), np.dtype("float32")),
        "spec": jax.ShapeDtypeStruct((2, 3), np.dtype("float32")),
        "partition": jax.sharding.PartitionSpec("data", None),
        "dtype": jax.numpy.bfloat16.dtype,
        "weights": np.arange(3, dtype="f4"),
    }
    return value, {**{key: Opaque(None, []) for key in value}, "weights": of(value["weights"])}


def old_flax():
    """Write what flax 0.3.0 saved: FrozenDict by slots, flax.optim, lifted by its own msgpack too."""
    import jax.interpreters.xla
    from flax import optim, serialization

    jax.interpreters.xla.DeviceArray = jax.Array  # flax 0.3.0 asks for it; only numpy arrays are saved here
    params = {
        "dense": {
            "kernel": arr("f3/k", "float32", (3, 2)).numpy(),
            "bias": arr("f3/b", "float32", (2,)).numpy(),
        }
    }
    tree = {key: {name: of(leaf) for name, leaf in group.items()} for key, group in params.items()}
    frozen = Rec("flax.core.frozen_dict.FrozenDict", tree)
    write("flax_0.3_frozendict_p2.pkl", pickle.dumps(FrozenDict(params), 2), frozen)
    write(
        "flax_0.3_frozendict_p4.pkl",
        pickle.dumps({"params": FrozenDict(params), "step": 3}, 4),
        {"params": frozen, "step": 3},
    )
    variables = FrozenDict({"params": params, "batch_stats": {"mean": arr("f3/m", "float32", (3,)).numpy()}})
    data = serialization.to_bytes(variables)
    expected = {"params": tree, "batch_stats": {"mean": arr("f3/m", "float32", (3,))}}
    target("msgpack/flax_0.3_variables.msgpack").write_bytes(data)
    expect("msgpack/flax_0.3_variables.msgpack", expected, how=HOW)

    moments = {
        k: optim.adam._AdamParamState(
            arr(f"f3/mu{k}", "float32", (2,)).numpy(), arr(f"f3/nu{k}", "float32", (2,)).numpy()
        )
        for k in ("a", "b")
    }
    weights = {k: arr(f"f3/w{k}", "float32", (2,)) for k in ("a", "b")}
    state = optim.OptimizerState(np.int32(5), moments)
    optimizer = optim.Optimizer(optim.Adam(1e-3), state, {k: w.numpy() for k, w in weights.items()})
    slots = {k: {"grad_ema": of(m.grad_ema), "grad_sq_ema": of(m.grad_sq_ema)} for k, m in moments.items()}
    module = "flax.optim"
    records = {k: Rec(f"{module}.adam._AdamParamState", s) for k, s in slots.items()}
    fields = {
        "optimizer_def": Opaque(f"{module}.adam.Adam", []),
        "state": Rec(f"{module}.base.OptimizerState", {"step": np.int32(5), "param_states": records}),
        "target": weights,
    }
    write("flax_0.3_optimizer_p4.pkl", pickle.dumps(optimizer, 4), Rec(f"{module}.base.Optimizer", fields))
    plain = {"target": weights, "state": {"step": np.int32(5), "param_states": slots}}
    # flax.training.checkpoints of 0.3.0 imports tensorflow to write exactly these bytes.
    target("msgpack/flax_0.3_checkpoint_5").write_bytes(serialization.to_bytes(optimizer))
    expect(
        "msgpack/flax_0.3_checkpoint_5",
        plain,
        how=HOW,
        notes="a flax.optim.Optimizer as checkpoints.save_checkpoint wrote it",
    )


def before_04():
    """Write what jax 0.1 to 0.3 saved, by their source: their jaxlib is no longer on any index.

    Up to jax 0.3.0 `DeviceArray.__reduce__` is that of the numpy value (jax/interpreters/xla.py 0.1.75, 0.2.24;
    jax/_src/device_array.py 0.2.28, 0.3.0), so such a pickle names no jax at all. jax 0.3.14 returns
    `reconstruct_device_array, (fun, args, arr_state, {'weak_type', 'named_shape'})` (jax/_src/device_array.py).
    """

    def reconstruct_device_array(*args):
        raise NotImplementedError

    class DeviceArray:
        def __init__(self, made, weak_type=False, named_shape=None):
            self.made, self.aval_state = made, {"weak_type": weak_type, "named_shape": named_shape or {}}

        def __reduce__(self):
            fun, args, arr_state = self.made.numpy().__reduce__()
            return reconstruct_device_array, (fun, args, arr_state, self.aval_state)

    module = types.ModuleType("jax._src.device_array")
    module.reconstruct_device_array = reconstruct_device_array
    reconstruct_device_array.__module__, reconstruct_device_array.__qualname__ = (
        module.__name__,
        "reconstruct_device_array",
    )
    sys.modules[module.__name__] = module
    made = {name: arr(f"jax03/{name}", name, (2, 3)) for name in ("float32", "int32", "bool", "complex64")}
    value = {key: DeviceArray(child) for key, child in made.items()}
    value["weak"], value["named"] = (
        DeviceArray(arr("jax03/w", "float32", ()), True),
        DeviceArray(arr("jax03/n", "float32", (3,)), False, {"batch": 8}),
    )
    tree = {**made, "weak": arr("jax03/w", "float32", ()), "named": arr("jax03/n", "float32", (3,))}
    for protocol in (2, 4):
        write(
            f"jax_0.3.14_p{protocol}.pkl",
            pickle.dumps(value, protocol),
            tree,
            how=f"by hand from the source of jax 0.3.14 (its jaxlib cannot be had), numpy {np.__version__}",
        )


def main():
    if FLAX == "0.3.0":
        old_flax()
        before_04()
        return
    value, tree = arrays()
    for protocol in (2, 4, 5) if VERSION.startswith("0.10") else (4,):
        write(f"jax_{VERSION}_p{protocol}.pkl", pickle.dumps(value, protocol), tree)
    value, tree = structures()
    write(
        f"jax_{VERSION}_structures.pkl",
        pickle.dumps(value, 4),
        tree,
        notes="avals, specs, dtypes: only the weights are arrays",
    )
    import optax

    how = f"{HOW}, optax {optax.__version__}"
    for optimizer in ("chain", "adam", "sgd", "multi", "inject"):
        state = train_state(f"ts{VERSION}", optimizer, tx=None)
        write(f"trainstate_{VERSION}_{optimizer}.pkl", pickle.dumps(state, 4), neutral(state), how=how)
    if VERSION.startswith("0.10"):
        import cloudpickle

        state = train_state("ts", "chain", apply_fn=lambda variables, x: x)
        write(
            "trainstate_0.10.2_cloudpickle.pkl",
            without_paths(cloudpickle.dumps(state), __file__),
            neutral(state),
            how=how + f", cloudpickle {cloudpickle.__version__}",
        )
        nested = {
            "state": {"params": state.params, "opt_state": state.opt_state, "step": 7},
            "metadata": {"epoch": 3, "config": {"lr": 1e-3}},
            "timestamp": 1.5,
        }
        write("nested_state.pkl", pickle.dumps(nested, 5), neutral(nested), how=how)


main()
