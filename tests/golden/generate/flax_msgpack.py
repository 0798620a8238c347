"""Golden files of Flax msgpack; run in the environments of jax_states.py (0.10.2, 0.5.3 and 0.4.13 with flax 0.7.0)."""

from __future__ import annotations

import flax
import jax
import numpy as np
from flax import serialization
from golden import Arr, arr, expect, target
from jax_tree import from_jax, neutral, put, train_state

HOW = f"jax {jax.__version__}, flax {flax.__version__}, numpy {np.__version__}"
VERSION = ".".join(flax.__version__.split(".")[:2])
jax.config.update("jax_enable_x64", True)


def write(name, data, tree, **more):
    target(f"msgpack/{name}").write_bytes(data)
    expect(f"msgpack/{name}", tree, **{"how": HOW, **more})


def numbered(tree):
    """Return what flax's state dicts make of lists and tuples: dicts with numbered keys."""
    if isinstance(tree, dict):
        return {key: numbered(child) for key, child in tree.items()}
    if isinstance(tree, (list, tuple)):
        return {str(index): numbered(child) for index, child in enumerate(tree)}
    return tree


def dtypes():
    names = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128"
    if VERSION != "0.7":
        names += " float8_e4m3fn float8_e5m2 int4 uint4"
    made = {name: arr(f"msgpack/{name}", name, (2, 3)) for name in names.split()}
    made["zero_d"], made["empty"] = arr("msgpack/0", "float32", ()), Arr("float32", (0, 3), b"")
    return made


def main():
    made = dtypes()
    scalars = {
        "np_f4": np.float32(1.5),
        "np_i8": np.int64(-3),
        "np_bool": np.bool_(True),
        "float": 0.125,
        "int": 5,
        "big": 1 << 40,
        "neg": -7,
        "true": True,
        "none": None,
        "str": "naïve ☃",
        "bytes": b"\x00\xff",
        "complex": 1 - 2j,
    }
    as_complex = np.complex128(1 - 2j) if VERSION == "0.7" else 1 - 2j  # 0.7 takes it for a numpy scalar
    value = {
        "jax": {k: put(v) for k, v in made.items()},
        "numpy": {k: v.numpy() for k, v in made.items()},
        "scalars": scalars,
    }
    value["fortran"] = np.asfortranarray(arr("msgpack/f", "float32", (3, 4)).numpy())
    tree = {
        "jax": {k: from_jax(v) for k, v in made.items()},
        "numpy": made,
        "scalars": {**scalars, "complex": as_complex},
        "fortran": arr("msgpack/f", "float32", (3, 4)),
    }
    value["lists"] = [arr("msgpack/l", "int16", (2,)).numpy(), (1, {"x": 2.5}), []]
    tree["lists"] = [arr("msgpack/l", "int16", (2,)), (1, {"x": 2.5}), []]
    write(f"flax_{VERSION}_to_bytes.msgpack", serialization.to_bytes(value), numbered(tree))
    native = {
        "a": [1, 2, [made["int8"].numpy()]],
        "by_int": {-1: 2, 3: "int key"},
        "w": made["float32"].numpy(),
    }
    listed = {"a": [1, 2, [made["int8"]]], "by_int": {-1: 2, 3: "int key"}, "w": made["float32"]}
    write(f"flax_{VERSION}_serialize.msgpack", serialization.msgpack_serialize(native), listed)
    state = train_state(f"msgpack{VERSION}", "chain")
    plain = numbered(serialization.to_state_dict(state))
    write(f"flax_{VERSION}_trainstate.msgpack", serialization.to_bytes(state), neutral(plain, classes=False))

    before = serialization.MAX_CHUNK_SIZE
    serialization.MAX_CHUNK_SIZE = 64
    big = {
        "params": {
            "kernel": arr("chunk/k", "float32", (6, 9)),
            "small": arr("chunk/s", "float32", (3,)),
            "bf16": arr("chunk/b", "bfloat16", (50,)),
            "wide": arr("chunk/w", "float64", (2, 5, 3)),
        }
    }
    value = {"params": {k: v.numpy() for k, v in big["params"].items()}}
    write(
        f"flax_{VERSION}_chunked.msgpack",
        serialization.to_bytes(value),
        big,
        notes="MAX_CHUNK_SIZE lowered from 2**30 to 64 bytes",
    )
    serialization.MAX_CHUNK_SIZE = before

    from flax.training import checkpoints

    folder = target(f"msgpack/legacy_{VERSION}")
    jax.config.update("jax_enable_x64", False)
    flax.config.update("flax_use_orbax_checkpointing", False)
    for step in (1, 10):
        state = train_state(f"legacy{VERSION}/{step}", "adam")
        checkpoints.save_checkpoint(str(folder), state, step, keep=5, overwrite=True)
        plain = numbered(serialization.to_state_dict(state))
        expect(f"msgpack/legacy_{VERSION}/checkpoint_{step}", neutral(plain, classes=False), how=HOW)


main()
