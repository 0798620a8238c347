"""The pickle backend: golden files of every vintage, and pickle, joblib and cloudpickle themselves as judges."""

from __future__ import annotations

import pickle
import pickletools
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cloudpickle
import jax
import jax.numpy as jnp
import joblib
import ml_dtypes
import numpy as np
import omegaconf
import optax
import pytest
from ckpt_pickle.backend import PickleBackend
from flax import nnx
from flax.core import freeze
from flax.training.train_state import TrainState

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.compression import compression_of, decompressed
from ckpt_core.errors import DamagedFileError, UnsupportedError
from ckpt_core.pickles.optax import FIELDS
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_core.testing import BackendTests, differences
from ckpt_core.tree import Record, walk
from tests.backends.golden_files import GOLDEN, check, expectation

BACKEND = PickleBackend()
GOLDEN_FILES = sorted(
    str(path.relative_to(GOLDEN))
    for path in (GOLDEN / "pickle").iterdir()
    if not path.name.endswith(".expected.json")
)
Opener = Callable[[bytes | Path], Any]


class TestPickle(BackendTests):
    backend = BACKEND
    suffix = ".pkl"
    kindred = frozenset({"pickle 0", "pickle 2", "pickle 4", "pickle 5"})

    def official_load(self, path: Path) -> Mapping[str, Any]:
        loaded = pickle.loads(path.read_bytes())
        assert isinstance(loaded, dict)
        return loaded


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    """Return a function that opens bytes, or a file, and gives what is stored."""
    sources: list[Source] = []

    def open_bytes(data: bytes | Path) -> Stored:
        path = data if isinstance(data, Path) else tmp_path / f"{len(sources)}.pkl"
        if isinstance(data, bytes):
            path.write_bytes(data)
        source = Source(path)
        if not BACKEND.sniff(source):
            compression = compression_of(source)
            assert compression is not None
            source = decompressed(source, compression)
        sources.append(source)
        assert BACKEND.sniff(source)
        return BACKEND.open(source)

    yield open_bytes
    for source in sources:
        source.close()


@pytest.mark.parametrize("name", GOLDEN_FILES)
def test_golden_files_read_as_their_generator_wrote_them(opened: Opener, name: str) -> None:
    check(opened(GOLDEN / name).tree, expectation(name))


# jax, flax, optax.


@pytest.mark.parametrize("protocol", range(6))
def test_train_states(opened: Opener, protocol: int) -> None:
    params = {"dense": {"kernel": jnp.arange(600.0).reshape(20, 30), "bias": jnp.ones(30, jnp.bfloat16)}}
    optimizer = optax.chain(optax.clip(1.0), optax.adamw(optax.linear_schedule(1e-3, 0, 10)))
    state = TrainState.create(apply_fn=None, params=freeze(params), tx=optimizer)
    state = state.apply_gradients(grads=state.params).replace(tx=None, apply_fn=None)
    found = opened(pickle.dumps(state, protocol)).tree
    assert (found.type_name, found["step"]) == ("flax.training.train_state.TrainState", 1)
    assert found["params"].type_name == "flax.core.frozen_dict.FrozenDict"
    kernel = state.params["dense"]["kernel"]
    assert found["params"]["dense"]["kernel"].read().tobytes() == np.asarray(kernel).tobytes()
    assert found["params"]["dense"]["bias"].dtype == "bfloat16"
    adam = found["opt_state"][1][0]
    assert (adam.type_name, list(adam)) == ("optax._src.transform.ScaleByAdamState", ["count", "mu", "nu"])
    expected = np.asarray(state.opt_state[1][0].mu["dense"]["kernel"])
    assert adam["mu"]["dense"]["kernel"].read().tobytes() == expected.tobytes()
    assert found["opt_state"][0].type_name == "optax._src.base.EmptyState"


def test_fields_of_every_state_of_the_installed_optax() -> None:
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("optax.")]
    classes = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, tuple) and hasattr(value, "_fields")
    }
    assert len(classes) > 40
    for cls in classes:
        if cls.__module__.startswith("optax.") and cls.__name__.endswith("State") and cls._fields:
            assert cls._fields in FIELDS.get(cls.__name__, ()), cls


def test_keys_specs_and_states_of_jax(opened: Opener) -> None:
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    tree: dict[str, Any] = {
        "old key": jax.random.PRNGKey(3),
        "typed key": jax.random.key(3),
        "spec": jax.ShapeDtypeStruct((2, 3), jnp.bfloat16),
        "state": nnx.to_pure_dict(nnx.state(model)),
        "weak": jnp.asarray(1.0),
    }
    found = opened(pickle.dumps(tree)).tree
    assert found["old key"].read().tolist() == [0, 3]
    assert isinstance(found["typed key"], Record)
    inside = [leaf for _, leaf in walk(found["typed key"]) if isinstance(leaf, LazyArray)]
    assert [array.read().tolist() for array in inside] == [[0, 3]]
    assert found["spec"]["shape"] == (2, 3)
    assert found["weak"].shape == ()
    assert found["state"]["kernel"].read().tobytes() == np.asarray(tree["state"]["kernel"]).tobytes()


# joblib, cloudpickle, omegaconf.


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_joblib_files(opened: Opener, tmp_path: Path, compress: Any, protocol: int) -> None:
    weights = np.random.default_rng(1).normal(size=(50, 20)).astype(np.float32)
    tree: dict[str, Any] = {
        "w": weights,
        "f": np.asfortranarray(weights),
        "again": [weights, (weights, 1)],
        "big": weights.astype(">f4"),
        "objects": np.array([1, "a", weights], object),
        "text": np.array(["abc", "de"]),
        "empty": np.zeros((0, 3)),
        "bf16": weights.astype(ml_dtypes.bfloat16),
        "last": 3,
    }
    path = tmp_path / "state.joblib"
    joblib.dump(tree, path, compress=compress, protocol=protocol)
    found = opened(path).tree
    for name in ("w", "f", "big"):
        assert found[name].read().tobytes() == weights.tobytes() and found[name].shape == (50, 20)
    assert found["again"][1][0].read().tobytes() == weights.tobytes()
    assert found["objects"]["elements"][2].read().tobytes() == weights.tobytes()
    assert found["text"]["data"].read().tobytes() == tree["text"].tobytes()
    assert found["bf16"].read().tobytes() == tree["bf16"].tobytes()
    assert found["empty"].shape == (0, 3) and found["last"] == 3


def test_joblib_files_that_end_inside_an_array(opened: Opener, tmp_path: Path) -> None:
    path = tmp_path / "state.joblib"
    joblib.dump({"w": np.zeros(1000)}, path)
    data = path.read_bytes()
    for length in (len(data) - 1, len(data) - 5, len(data) - 4000, len(data) - 8010):
        with pytest.raises(DamagedFileError):
            opened(data[:length])


def test_old_joblib_files_with_arrays_beside_them(opened: Opener) -> None:
    wrapper = (
        b"\x80\x02cjoblib.numpy_pickle\nNDArrayWrapper\n)\x81}X\x08\x00\x00\x00filenameX\x01\x00\x00\x00asb."
    )
    with pytest.raises(UnsupportedError, match="separate files"):
        opened(wrapper)


def test_cloudpickle_keeps_functions_and_classes_inert(opened: Opener, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    module = types.ModuleType("made_up")
    exec(  # a class and a function that exist in no module, so that cloudpickle writes their code
        "class Model:\n    rate = 3\n    def __init__(self): self.weights = [1, 2]\n"
        f"def step(x): open({str(canary)!r}, 'w')\n",
        vars(module),
    )
    module.Model.__module__ = module.step.__module__ = "__main__"
    tree = {"step": module.step, "model": module.Model(), "w": np.arange(500), "lambda": lambda x: x + 1}
    found = opened(cloudpickle.dumps(tree)).tree
    assert found["w"].read().tolist() == list(range(500))
    assert all(isinstance(found[name], Record) for name in ("step", "model", "lambda"))
    assert found["model"]["weights"] == [1, 2]
    assert found["step"].state is not None
    assert not canary.exists()


def test_omegaconf_reads_as_plain_data(opened: Opener) -> None:
    config = omegaconf.OmegaConf.create({"lr": 0.1, "model": {"dims": [1, 2]}})
    found = opened(pickle.dumps({"cfg": config})).tree["cfg"]
    leaves = [leaf for _, leaf in walk(found)]
    assert 0.1 in leaves and found.type_name == "omegaconf.dictconfig.DictConfig"


# Claiming.


@pytest.mark.parametrize("protocol", range(6))
def test_claims_its_own_and_not_torch(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "file"
    magic = 0x1950A86A20F9469CFC6C
    for data, expected in [
        (pickle.dumps({"a": [1, 2.5, "x"]}, protocol), True),
        (pickle.dumps(np.arange(5), protocol), True),
        (pickle.dumps([], protocol), True),
        (pickle.dumps(magic, protocol) + pickle.dumps(1001, protocol), False),
        (b"I am a text.\n", False),
        (b"(see the manual).", False),
        (b"Na.", False),
        (b"\x80", False),
    ]:
        path.write_bytes(data)
        with Source(path) as source:
            assert BACKEND.sniff(source) == expected, data


def test_truncated_files_are_claimed_and_damaged(tmp_path: Path) -> None:
    path = tmp_path / "cut.pkl"
    path.write_bytes(pickle.dumps({"a": np.arange(100)})[:-20])
    with Source(path) as source:
        assert BACKEND.sniff(source)
        with pytest.raises(DamagedFileError, match=r"truncated|declared"):
            BACKEND.open(source)


def test_what_follows_the_first_pickle_is_named(opened: Opener) -> None:
    first = pickle.dumps({"a": 1})
    stored = opened(first + pickle.dumps({"b": 2}))
    assert stored.tree == {"a": 1} and f"ends at byte {len(first)}" in stored.notes[0]
    assert opened(first).notes == ()
    assert opened(first + pickle.dumps("no JSON")).notes


# Writing.


def saved(path: Path, tree: Any, attributes: Mapping[str, Any] | None = None) -> bytes:
    with Sink(path, force=True) as sink:
        BACKEND.save(Stored(tree, attributes or {}), sink, {})
    return path.read_bytes()


def test_what_is_written_byte_for_byte(tmp_path: Path) -> None:
    data = saved(tmp_path / "a.pkl", {"a": LazyArray.from_numpy(np.array([1, 2], np.int16))}, {"k": "v"})
    state = b"(K\x01K\x02\x85h\x04\x8c\x05dtype\x94\x93\x94\x8c\x02i2\x94\x89\x88\x87R\x94"
    assert data.startswith(
        b"\x80\x04}\x94(\x8c\x01a\x94\x8c\x15numpy.core.multiarray\x94\x8c\x0c_reconstruct\x94\x93\x94"
    )
    assert data.endswith(b"\x89C\x04\x01\x00\x02\x00tbu.\x80\x04\x8c\x0a" + b'{"k": "v"}' + b"\x94.")
    assert [op.name for op, _, _ in pickletools.genops(data)].count("FRAME") == 0
    assert state[-12:-1] in data


def test_large_arrays_are_copied_and_tied_ones_are_one_object(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(600, 1000))
    first = LazyArray.from_numpy(weights)
    storage = first.pieces[0].storage
    tree: dict[str, Any] = {
        "a": first,
        "b": LazyArray((600, 1000), "float64", storage),
        "c": LazyArray((1000, 600), "float64", storage),
    }
    path = tmp_path / "tied.pkl"
    data = saved(path, tree)
    assert 2 * weights.nbytes < len(data) < 2 * weights.nbytes + 1000
    loaded = pickle.loads(data)
    assert loaded["a"] is loaded["b"] and loaded["a"].flags.writeable
    assert loaded["a"].tobytes() == loaded["c"].tobytes() == weights.tobytes()
    with Source(path) as source:  # a file that was read is written again by copying its bytes
        tree = BACKEND.open(source).tree
        assert tree["a"].identity == tree["b"].identity
        assert saved(tmp_path / "again.pkl", tree) == data


def test_plain_values_come_back_from_pickle_itself(tmp_path: Path) -> None:
    tree: dict[str, Any] = {
        "values": [None, True, -1, 2**100, 0.5, float("inf"), 1 - 2j, "é\ud800", b"\x00" * 300, ""],
        "keys": {7: "int", 2.5: "float", True: "bool", None: 0, b"b": 1, (1, "x"): 2},
        "nested": ((), [], {}, ([()],)),
        "scalars": [np.float32(1.5), np.int8(-3), np.bool_(True), ml_dtypes.bfloat16(2)],
    }
    loaded = pickle.loads(saved(tmp_path / "plain.pkl", tree))
    assert differences(tree, loaded) == []


def test_the_result_loads_with_numpy_alone(tmp_path: Path) -> None:
    path = tmp_path / "plain.pkl"
    saved(
        path,
        {"w": LazyArray.from_numpy(np.arange(100000.0)), "n": 3, "s": np.float32(2)},
        {"ckpt_core": "{}"},
    )
    script = f"""
        import pickle, sys, warnings
        warnings.simplefilter("error")
        value = pickle.load(open({str(path)!r}, "rb"))
        print(value["w"].sum(), value["n"], value["s"])
        print(sorted({{"ckpt_core", "ml_dtypes", "jax", "torch"}} & set(sys.modules)))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert run.stdout.split("\n")[:2] == ["4999950000.0 3 2.0", "[]"]


def test_opening_imports_no_framework(tmp_path: Path) -> None:
    paths = [
        str(GOLDEN / "pickle" / name) for name in ("trainstate_0.10.2_adam.pkl", "jax_0.10.2_structures.pkl")
    ]
    script = f"""
        import sys
        from ckpt_pickle.backend import PickleBackend
        from ckpt_core.source import Source
        assert not {{"jax", "flax", "optax", "torch", "ml_dtypes", "joblib", "cloudpickle"}} & set(sys.modules)
        for path in {paths}:
            source = Source(path)
            assert PickleBackend().sniff(source)
            print(type(PickleBackend().open(source).tree).__name__)
        print(sorted({{"jax", "flax", "optax", "torch", "joblib", "cloudpickle"}} & set(sys.modules)))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert run.stdout.split("\n")[-2] == "[]"
