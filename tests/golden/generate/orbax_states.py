"""Golden Orbax directories, saved over eight fake CPU devices.

python3.11: orbax-checkpoint==0.12.8 jax==0.10.2 flax==0.12.8 optax==0.2.8 tensorstore==0.1.86 numpy==2.4.6
python3.10: orbax-checkpoint==0.11.5 jax==0.5.3 jaxlib==0.5.3 flax==0.10.4 optax==0.2.4 tensorstore==0.1.74 numpy==2.2.6
python3.9:  orbax-checkpoint==0.2.7 jax==0.4.13 jaxlib==0.4.13 flax==0.7.0 optax==0.1.7 tensorstore==0.1.41 \\
        ml_dtypes==0.2.0 numpy==1.24.4
each: bin/python orbax_states.py
"""

from __future__ import annotations

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import importlib.metadata

import flax
import jax
import numpy as np
import orbax.checkpoint as ocp
from golden import ROOT, Arr, Opaque, arr, expect, of, target
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax_tree import from_jax, neutral, put, train_state

jax.config.update("jax_enable_x64", True)
VERSION = importlib.metadata.version("orbax-checkpoint")
OLD = VERSION == "0.2.7"
NEW = VERSION.startswith("0.12")
HOW = f"orbax-checkpoint {VERSION}, jax {jax.__version__}, flax {flax.__version__}, tensorstore {importlib.metadata.version('tensorstore')}"
NOTES = (
    "the order of dict keys is not expected; a Python or numpy scalar is stored as a 0-d array and marked so"
)


def place(name: str):
    """Return a cleared directory to save into; its parent exists."""
    return target(f"orbax/{VERSION}_{name}")


def done(name: str, tree, **more):
    """Take this machine's path out of the commit messages, and write the expectation."""
    for path in (ROOT / f"orbax/{VERSION}_{name}").rglob("commit_success.txt"):
        path.write_text(path.read_text().replace(str(ROOT), "/checkpoints"))
    expect(f"orbax/{VERSION}_{name}", tree, **{"how": HOW, "notes": NOTES, **more})


def dtypes() -> dict[str, Arr]:
    names = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128"
    if not OLD:
        names += " float8_e4m3fn float8_e5m2"
    if NEW:
        names += " int4"
    made = {name: arr(f"orbax/{name}", name, (2, 3)) for name in names.split()}
    made["zero_d"] = arr("orbax/0", "float32", ())
    made["zeros"] = Arr("float32", (2, 2), bytes(16))
    made["mixed_zeros"] = of(np.array([0.0, 0.0, 1.0, 0.0], "f4"))
    return made


def mixed(*, strings: bool = True):
    """Return a tree of every kind of leaf and container, and what is expected of it."""
    made = dtypes()
    value = {
        "jax": {k: put(v) for k, v in made.items()},
        "numpy": {k: v.numpy() for k, v in made.items() if k != "int4"},
    }
    tree = {
        "jax": {k: from_jax(v) for k, v in made.items()},
        "numpy": {k: v for k, v in made.items() if k != "int4"},
    }
    layers = [arr(f"orbax/l{i}", "float32", (2,)) for i in range(3)]
    value["list"], tree["list"] = [put(item) for item in layers], layers
    value["tuple"], tree["tuple"] = (put(layers[0]), {"x": put(layers[1])}), [layers[0], {"x": layers[1]}]
    value["scalars"] = {"int": 5, "float": 0.125, "np_f4": np.float32(1.5), "np_i8": np.int64(-3)}
    tree["scalars"] = {key: scalar(item) for key, item in value["scalars"].items()}
    value["int_keys"], tree["int_keys"] = (
        {0: put(layers[0]), 10: put(layers[2])},
        {"0": layers[0], "10": layers[2]},
    )
    value["empty"] = {"dict": {}, "list": [], "none": None}
    tree["empty"] = {"dict": {}, "list": [], "none": None}
    value["layer.with.dots"], tree["layer.with.dots"] = put(layers[1]), layers[1]
    if strings:
        value["text"], tree["text"] = "naïve ☃", "naïve ☃"
    return value, tree


def scalar(value) -> Arr:
    """Return the 0-d array that Orbax stores for a scalar."""
    made = np.asarray(value)
    return Arr(made.dtype.name, (), made.tobytes(), scalar=True)


def sharded():
    """Return arrays laid over a 4 x 2 mesh: split, partly split, replicated."""
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("x", "y"))
    plan = {
        "both": ((8, 4), "float32", ("x", "y")),
        "rows": ((8, 3), "bfloat16", ("x", None)),
        "columns": ((3, 4), "int16", (None, "y")),
        "folded": ((16,), "float64", (("x", "y"),)),
        "replicated": ((2, 3), "int32", (None, None)),
    }
    made = {name: arr(f"orbax/sharded/{name}", dtype, shape) for name, (shape, dtype, _) in plan.items()}
    value = {
        name: jax.device_put(made[name].numpy(), NamedSharding(mesh, PartitionSpec(*spec)))
        for name, (_, _, spec) in plan.items()
    }
    return {"params": value}, {"params": made}


def pytree(name: str, value, tree, save_args=None, **options) -> None:
    """Save with a PyTreeCheckpointHandler of the given options."""
    handler = ocp.PyTreeCheckpointHandler(**options)
    saver = ocp.Checkpointer(handler)
    path = place(name)
    if OLD:
        saver.save(str(path), value, **({"save_args": save_args} if save_args else {}))
    else:
        saver.save(
            path,
            args=ocp.args.PyTreeSave(value, save_args=save_args) if save_args else ocp.args.PyTreeSave(value),
        )
    done(name, tree, options={key: str(item) for key, item in options.items()})


def save(name: str, value, tree, **options) -> None:
    """Save a tree where this version can."""
    attempt(pytree, name, name, value, tree, **options)


def layouts():
    variants = {"ocdbt_zarr2": {"use_ocdbt": True}, "zarr2": {"use_ocdbt": False}}
    if not OLD:
        variants.update(
            ocdbt_zarr3={"use_ocdbt": True, "use_zarr3": True}, zarr3={"use_ocdbt": False, "use_zarr3": True}
        )
    for name, options in variants.items():
        if VERSION == "0.11.5" and "zarr3" in name:
            continue
        save(f"pytree_{name}", *mixed(strings=not OLD), **options)
        save(f"sharded_{name}", *sharded(), **options)
    if NEW:
        value, tree = sharded()
        small = jax.tree_util.tree_map(lambda _: ocp.SaveArgs(chunk_byte_size=16), value)
        save("chunked_zarr2", value, tree, save_args=small, use_ocdbt=False)
        save("chunked_ocdbt_zarr3", value, tree, save_args=small, use_ocdbt=True, use_zarr3=True)
        save("uncompressed_zarr2", value, tree, use_ocdbt=False, use_compression=False)


def attempt(make, label: str, *args, **options) -> None:
    """Run one maker; say what this version cannot do, and leave nothing of it."""
    try:
        make(*args, **options)
    except Exception as error:
        print(f"{VERSION} {label}: {type(error).__name__}: {str(error)[:300]}")
        for path in (ROOT / "orbax").glob(f"{VERSION}_{label}*"):
            import shutil

            shutil.rmtree(path) if path.is_dir() else path.unlink()


def states():
    state = train_state("orbax/ts", "chain")
    tree = listed(neutral(state, classes=False))
    fields = {key: child for key, child in tree.items() if key not in ("apply_fn", "tx")}
    pytree("trainstate", state, fields)
    if not OLD:
        value, tree = sharded()
        with ocp.StandardCheckpointer() as saver:
            saver.save(place("standard"), value)
        done("standard", tree)


def listed(tree):
    """Return the tree as Orbax keeps it: a tuple as a list, an empty named tuple as None."""
    if isinstance(tree, dict):
        return {key: listed(child) for key, child in tree.items()} or None
    return [listed(child) for child in tree] if isinstance(tree, (list, tuple)) else tree


def manager():
    weights = {step: {"w": arr(f"orbax/manager/{step}", "float32", (2, 3))} for step in (1, 20)}
    config = {"lr": 0.1, "layers": [4, 2], "name": "run", "none": None}
    name = "manager"
    if OLD:
        path = place(name)
        made = ocp.CheckpointManager(
            str(path),
            {"state": ocp.PyTreeCheckpointer(), "config": ocp.Checkpointer(ocp.JsonCheckpointHandler())},
            ocp.CheckpointManagerOptions(best_fn=lambda m: m["loss"], best_mode="min", create=True),
            metadata={"seed": 1},
        )
        for step, tree in weights.items():
            made.save(
                step,
                {"state": {k: put(v) for k, v in tree.items()}, "config": config},
                metrics={"loss": 1.0 / step},
            )
    else:
        options = ocp.CheckpointManagerOptions(best_fn=lambda m: m["loss"], best_mode="min", create=True)
        with ocp.CheckpointManager(place(name), options=options, metadata={"seed": 1}) as made:
            for step, tree in weights.items():
                extra = {"rng": ocp.args.JaxRandomKeySave(jax.random.key(3))}
                items = ocp.args.Composite(
                    state=ocp.args.StandardSave({k: put(v) for k, v in tree.items()}),
                    config=ocp.args.JsonSave(config),
                    **extra,
                )
                made.save(step, args=items, metrics={"loss": 1.0 / step})
    items = {
        str(step): {
            "state": tree,
            "config": config,
            "metrics": {"loss": 1.0 / step},
            **({} if OLD else {"rng": Opaque(None, [of(np.array([0, 3], "<u4"))])}),
        }
        for step, tree in weights.items()
    }
    done(
        name,
        items,
        notes="step / item / tree; root metadata {'seed': 1}; best step by loss: 20. " + NOTES,
        steps=[1, 20],
    )
    if NEW:
        options = ocp.CheckpointManagerOptions(step_prefix="ckpt", step_format_fixed_length=6, create=True)
        with ocp.CheckpointManager(place("manager_default"), options=options) as made:
            for step, tree in weights.items():
                made.save(step, args=ocp.args.StandardSave({k: put(v) for k, v in tree.items()}))
        done(
            "manager_default",
            {f"ckpt_{step:06}": tree for step, tree in weights.items()},
            notes="step / tree; the folder `default` of the one unnamed item is no key. " + NOTES,
            steps=[1, 20],
        )


def keys():
    """Typed and old PRNG keys."""
    typed, many = jax.random.key(3), jax.random.split(jax.random.key(4, impl="rbg"), 2)
    value = {
        "typed": typed,
        "many": many,
        "old": jax.random.PRNGKey(5),
        "w": put(arr("orbax/keys", "float32", (2,))),
    }
    tree = {
        "typed": Opaque(None, [of(np.asarray(jax.random.key_data(typed)))]),
        "many": Opaque(None, [of(np.asarray(jax.random.key_data(many)))]),
        "old": of(np.asarray(value["old"])),
        "w": arr("orbax/keys", "float32", (2,)),
    }
    for name, ocdbt in (("keys_ocdbt", True), ("keys_zarr2", False)):
        save(name, value, tree, use_ocdbt=ocdbt)


def nnx_states():
    from flax import nnx

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.layers = nnx.List([nnx.Linear(3, 2, rngs=rngs), nnx.Linear(2, 2, rngs=rngs)])
            self.norm, self.drop = nnx.BatchNorm(2, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    state = nnx.state(Net(nnx.Rngs(0)))
    leaves, treedef = jax.tree_util.tree_flatten_with_path(state)
    made, tree = [], {}
    for path, leaf in leaves:
        parts = [str(getattr(p, "key", getattr(p, "idx", getattr(p, "name", p)))) for p in path]
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            item, new = Opaque(None, [of(np.asarray(jax.random.key_data(leaf)))]), leaf
        else:
            item = arr("nnx/" + ".".join(parts), leaf.dtype.name, leaf.shape)
            new = put(item)
        made.append(new)
        node = tree
        for part in parts[:-1]:
            node = node.setdefault(part, {})
        node[parts[-1]] = item
    state = jax.tree_util.tree_unflatten(treedef, made)
    with ocp.StandardCheckpointer() as saver:
        saver.save(place("nnx"), state)
    done(
        "nnx",
        tree,
        notes="nnx.State: each variable ends in the segment `value`; list positions are string keys. "
        + NOTES,
    )
    pure = nnx.to_pure_dict(state) if hasattr(nnx, "to_pure_dict") else None
    if pure is not None:
        plain = jax.tree_util.tree_map(lambda leaf: leaf, pure)
        with ocp.PyTreeCheckpointer() as saver:
            saver.save(place("nnx_pure"), plain)

        def expected(node):
            if isinstance(node, dict):
                return {str(key): expected(child) for key, child in node.items()}
            if jax.dtypes.issubdtype(node.dtype, jax.dtypes.prng_key):
                return Opaque(None, [of(np.asarray(jax.random.key_data(node)))])
            return of(np.asarray(node))

        done("nnx_pure", expected(pure))


def version_1():
    import orbax.checkpoint.experimental.v1 as v1

    value, tree = mixed()
    for name in ("np_f4", "np_i8"):  # v1 takes no numpy scalars
        del value["scalars"][name], tree["scalars"][name]
    v1.save_pytree(place("v1_pytree"), value)
    done("v1_pytree", tree)
    value, tree = sharded()
    v1.save_checkpointables(
        place("v1_checkpointables"),
        {"model": value, "extra": {"epoch": 3, "w": put(arr("v1", "int8", (3,)))}},
    )
    done("v1_checkpointables", {"model": tree, "extra": {"epoch": scalar(3), "w": arr("v1", "int8", (3,))}})
    with v1.training.Checkpointer(place("v1_training")) as saver:
        for step in (1, 2):
            saver.save_pytree(
                step, {"w": put(arr(f"v1/{step}", "float32", (3,)))}, metrics={"loss": 1.0 / step}
            )
    trees = {
        str(step): {"state": {"w": arr(f"v1/{step}", "float32", (3,))}, "metrics": {"loss": 1.0 / step}}
        for step in (1, 2)
    }
    done("v1_training", trees, notes="step / item / tree. " + NOTES, steps=[1, 2])


def old():
    """What only orbax 0.2.7 and flax 0.7 wrote: leaves aggregated into one msgpack file, flax's own directories."""
    value, tree = mixed(strings=False)
    value = {"jax": value["jax"], "list": value["list"], "empty": {"dict": {}, "none": None}}
    tree = {"jax": tree["jax"], "list": tree["list"], "empty": {"dict": {}, "none": None}}
    save_args = jax.tree_util.tree_map(lambda _: ocp.SaveArgs(aggregate=True), value)
    pytree("aggregate", value, tree, save_args=save_args)
    save_args["jax"]["float32"] = ocp.SaveArgs(aggregate=False)
    pytree("aggregate_some", value, tree, save_args=save_args)
    from flax.training import checkpoints, orbax_utils

    flax.config.update("flax_use_orbax_checkpointing", True)
    state = train_state("orbax/flax07", "adam")
    checkpoints.save_checkpoint(
        str(place("flax07_checkpoint_5").parent),
        state,
        5,
        prefix=f"{VERSION}_flax07_checkpoint_",
        overwrite=True,
        keep=9,
    )
    fields = {k: v for k, v in listed(neutral(state, classes=False)).items() if k not in ("apply_fn", "tx")}
    done(
        "flax07_checkpoint_5", fields, notes="flax.training.checkpoints.save_checkpoint over orbax. " + NOTES
    )
    pytree(
        "flax07_utils",
        fields_of(state),
        fields,
        save_args=orbax_utils.save_args_from_target(fields_of(state)),
    )


def fields_of(state):
    return {"step": state.step, "params": state.params, "opt_state": state.opt_state}


layouts()
attempt(states, "trainstate")
attempt(manager, "manager")
if OLD:
    attempt(old, "aggregate")
else:
    attempt(keys, "keys")
if NEW:
    attempt(nnx_states, "nnx")
    attempt(version_1, "v1")
