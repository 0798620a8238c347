"""Orbax directories: orbax.checkpoint as judge in both directions, golden files, and hostile directories."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import tensorstore as ts
import torch
from ckpt_flax.bridge.arrays import from_jax, to_jax
from ckpt_flax.orbax import OrbaxBackend, Step, bombs, steps, writing
from flax import nnx
from flax.training.train_state import TrainState
from orbax.checkpoint import v1 as ocp1

from ckpt_core import convert, diff, open_checkpoint, save_checkpoint
from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.errors import (
    CheckpointError,
    DamagedFileError,
    LimitError,
    UnsafePathError,
    UnsupportedError,
    UsageError,
)
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_core.storage import FileStorage
from ckpt_core.testing import differences, random_array
from ckpt_core.tree import Record, map_with_path
from tests.golden import compare

# What Orbax says when it is used as these tests use it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Sharding info not provided"),
    pytest.mark.filterwarnings("ignore:Couldn't find sharding info"),
    pytest.mark.filterwarnings("ignore:Use `.*` instead:DeprecationWarning"),
]

BACKEND = OrbaxBackend()


def save(path: Path, tree: Any, attributes: Mapping[str, Any] | None = None) -> Path:
    with Sink(path, force=True) as sink:
        BACKEND.save(Stored(lazy(tree), attributes or {}), sink, {})
    return path


def lazy(tree: Any) -> Any:
    return map_with_path(lambda _, x: LazyArray.from_numpy(x) if isinstance(x, np.ndarray) else x, tree)


def load(path: Path) -> Stored:
    """Open a directory and read all arrays into memory."""
    with Source(path) as source:
        assert BACKEND.sniff(source)
        stored = BACKEND.open(source)
        tree = map_with_path(lambda _, x: x.read() if isinstance(x, LazyArray) else x, stored.tree)
        return Stored(tree, stored.attributes, stored.notes)


def same(ours: Any, theirs: Any) -> None:
    """Assert that two live trees are equal bit by bit."""
    assert differences(lazy(numpy_of(ours)), lazy(numpy_of(theirs))) == []


def numpy_of(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: numpy_of(tree[key]) for key in sorted(tree)}
    if isinstance(tree, list):
        return [numpy_of(child) for child in tree]
    return np.asarray(tree) if isinstance(tree, (np.ndarray, jax.Array)) else tree


LOADERS: dict[str, Callable[[Path], Any]] = {
    "PyTreeCheckpointer": lambda path: ocp.PyTreeCheckpointer().restore(path),
    "StandardCheckpointer": lambda path: ocp.StandardCheckpointer().restore(path),
    "v1.load_pytree": lambda path: ocp1.load_pytree(path),
}
WITH_TARGET: dict[str, Callable[[Path, Any], Any]] = {
    "PyTreeCheckpointer": lambda path, target: ocp.PyTreeCheckpointer().restore(path, item=target),
    "StandardCheckpointer": lambda path, target: ocp.StandardCheckpointer().restore(path, target),
    "v1.load_pytree": lambda path, target: ocp1.load_pytree(path, target),
}


# What we write, Orbax reads.


def values() -> dict[str, Any]:
    return {
        "nothing": None,
        "empty": {"dict": {}, "list": []},
        "numbers": {"int": 3, "negative": -(2**63), "float": 2.5, "true": True, "false": False},
        "list": [np.full(i + 1, i, np.float32) for i in range(12)],
        "zero_d": np.array(7, np.int32),
        "no_elements": np.zeros((0, 3), np.float32),
        "deep": {"a": {"b": {"c": [{"d": [np.ones(2)]}]}}},
        "nan": np.array([0x7FC00001, 0xFFFFFFFF, 0x80000000], np.uint32).view(np.float32),
    }


@pytest.fixture(params=["files", "database"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both forms of what is written."""
    if request.param == "database":
        monkeypatch.setattr(writing, "MAX_FILES", 0)
    return str(request.param)


@pytest.mark.parametrize("loader", LOADERS)
def test_orbax_restores_what_we_write(tmp_path: Path, form: str, loader: str) -> None:
    tree = {**values(), "text": {"a": "héllo\n", "b": ""}}
    path = save(tmp_path / "c", tree, {"note": [1, None]})
    assert (path / "manifest.ocdbt").exists() == (form == "database")
    same(LOADERS[loader](path), tree)
    same(load(path).tree, tree)


@pytest.mark.parametrize("loader", WITH_TARGET)
def test_orbax_restores_into_a_target(tmp_path: Path, form: str, loader: str) -> None:
    tree = values()
    target = map_with_path(lambda _, x: np.zeros_like(x) if isinstance(x, np.ndarray) else x, tree)
    same(WITH_TARGET[loader](save(tmp_path / "c", tree), target), tree)


@pytest.mark.parametrize("dtype", sorted(writing.DTYPES))
def test_every_dtype_is_restored_by_every_loader(tmp_path: Path, form: str, dtype: str) -> None:
    array = random_array(dtype, (3, 5)).read()
    path = save(tmp_path / "c", {"x": array})
    for restore in LOADERS.values():
        same(restore(path), {"x": array})
    for restore_into in WITH_TARGET.values():
        same(restore_into(path, {"x": np.zeros_like(array)}), {"x": array})
    same(load(path).tree, {"x": array})


NAMES = [
    *(
        "a/b",
        "..",
        ".",
        "",
        ".hidden",
        "a b",
        "a%41b",
        "é",
        "日本",
        "a?b",
        "a#b",
        "@",
        "a:b",
        "d",
        "~",
        "0",
        "con",
    ),
    *(
        "_METADATA",
        "manifest.ocdbt",
        "checkpoint",
        "default",
        "state",
        "metadata",
        "metrics",
        "pytree",
        "A",
        "a",
    ),
    *(
        "x" * 300,
        "tab\t",
        "new\nline",
        "q'uote",
        'dq"',
        "back\\slash",
        "a.b",
        "nul\0x",
        "_sharding",
        "zarr.json",
    ),
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_restored(tmp_path: Path, name: str) -> None:
    tree = {name: np.arange(3.0), "other": {name: np.ones(2)}}
    path = save(tmp_path / "c", tree)
    assert {entry.name for entry in tmp_path.iterdir()} == {"c"}
    for restore in LOADERS.values():
        same(restore(path), tree)
    same(load(path).tree, tree)


def test_names_that_differ_in_case_alone_go_into_a_database(tmp_path: Path) -> None:
    path = save(tmp_path / "c", {"w": np.zeros(2), "W": np.ones(2)})
    assert (path / "manifest.ocdbt").exists()
    same(ocp.PyTreeCheckpointer().restore(path), {"w": np.zeros(2), "W": np.ones(2)})


def test_many_small_arrays_go_into_a_database(tmp_path: Path) -> None:
    tree = {f"w{i}": np.full(3, i, np.int32) for i in range(writing.FEW_FILES + 1)}
    path = save(tmp_path / "c", tree)
    assert (path / "manifest.ocdbt").exists()
    same(ocp.StandardCheckpointer().restore(path), tree)


def test_a_large_array_is_cut_into_chunks_in_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_FILES", 0)
    monkeypatch.setattr("ckpt_flax.orbax.ocdbt.CHUNK", 400)
    tree = {"w": np.arange(7 * 11 * 13, dtype=np.int16).reshape(7, 11, 13), "v": np.arange(1000.0)}
    path = save(tmp_path / "c", tree)
    for restore in LOADERS.values():
        same(restore(path), tree)
    same(load(path).tree, tree)


def test_the_bytes_of_a_plain_directory(tmp_path: Path) -> None:
    path = save(
        tmp_path / "c", {"a": {"b": np.array([[1, 2]], ">i2")}, "n": 5, "s": "x", "z": None}, {"k": 1}
    )
    files = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    root = json.loads(files.pop("_CHECKPOINT_METADATA"))
    assert root["commit_timestamp_nsecs"] >= root["init_timestamp_nsecs"] > 0
    assert files == {
        "a.b/.zarray": b'{"chunks": [1, 2], "compressor": null, "dimension_separator": ".", "dtype": "<i2", '
        b'"fill_value": null, "filters": null, "order": "C", "shape": [1, 2], "zarr_format": 2}',
        "a.b/0.0": b"\1\0\2\0",
        "n/.zarray": b'{"chunks": [], "compressor": null, "dimension_separator": ".", "dtype": "<i8", '
        b'"fill_value": null, "filters": null, "order": "C", "shape": [], "zarr_format": 2}',
        "n/0": b"\5\0\0\0\0\0\0\0",
        "_strings.json": b'{"s": "x"}',
        "_METADATA": files["_METADATA"],
    }
    metadata = json.loads(files["_METADATA"])
    assert metadata["custom_metadata"] == {"k": 1}
    assert list(metadata["tree_metadata"]) == ["('a', 'b')", "('n',)", "('s',)", "('z',)"]
    assert metadata["tree_metadata"]["('a', 'b')"] == {
        "key_metadata": [{"key": "a", "key_type": 2}, {"key": "b", "key_type": 2}],
        "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False},
    }


def test_order_and_attributes_survive(tmp_path: Path) -> None:
    tree = {"z": np.ones(1), "a": {"y": 1, "b": {}}, "m": [None, "x"]}
    stored = load(save(tmp_path / "c", tree, {"config": {"lr": 0.1}, "n": None}))
    assert list(stored.tree) == ["z", "a", "m"]
    assert list(stored.tree["a"]) == ["y", "b"]
    assert stored.attributes == {"config": {"lr": 0.1}, "n": None}


@pytest.mark.parametrize("tree", [{"a": b"bytes"}, {3: np.ones(1)}, {"\ud800": np.ones(1)}])
def test_what_does_not_fit_is_refused(tmp_path: Path, tree: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"type|Unicode"):
        save(tmp_path / "c", tree)
    assert list(tmp_path.iterdir()) == []


# What Orbax writes, we read.


def state() -> dict[str, Any]:
    return {
        "w": jnp.arange(12, dtype=jnp.float32).reshape(3, 4),
        "half": jnp.ones((2,), jnp.bfloat16),
        "numpy": np.arange(5, dtype=np.int16),
        "numbers": {"i": 3, "f": 2.5, "b": True},
        "empty": {"n": None, "d": {}, "l": []},
        "list": [np.zeros((2, 3)), {"x": jnp.ones(1)}],
    }


@pytest.mark.parametrize("use_ocdbt", [False, True])
@pytest.mark.parametrize("use_zarr3", [False, True])
def test_pytree_checkpoints(tmp_path: Path, use_ocdbt: bool, use_zarr3: bool) -> None:
    tree = {**state(), "text": "hello"}
    ocp.PyTreeCheckpointer(use_ocdbt=use_ocdbt, use_zarr3=use_zarr3).save(tmp_path / "c", tree)
    same(load(tmp_path / "c").tree, tree)


def test_standard_checkpoints_and_their_metadata(tmp_path: Path) -> None:
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "c", state(), custom_metadata={"lr": [0.1, None]})
    stored = load(tmp_path / "c")
    same(stored.tree, state())
    assert stored.attributes == {"lr": [0.1, None]}
    assert stored.notes == ()


def test_the_v1_layout(tmp_path: Path) -> None:
    ocp1.save_pytree(tmp_path / "tree", state(), custom_metadata={"x": 1})
    stored = load(tmp_path / "tree")
    same(stored.tree, state())
    assert stored.attributes == {"x": 1}
    ocp1.save_checkpointables(tmp_path / "many", {"state": {"p": jnp.ones(3)}, "extra": {"epoch": 3}})
    same(load(tmp_path / "many").tree, {"state": {"p": np.ones(3, np.float32)}, "extra": {"epoch": 3}})


def manager(path: Path, **options: Any) -> ocp.CheckpointManager:
    return ocp.CheckpointManager(path, options=ocp.CheckpointManagerOptions(**options))


def test_a_manager_with_one_step_opens(tmp_path: Path) -> None:
    with manager(tmp_path / "run", best_fn=lambda metrics: metrics["loss"]) as run:
        run.save(3, args=ocp.args.StandardSave({"p": jnp.ones(3)}), metrics={"loss": 1.5})
    stored = load(tmp_path / "run")
    same(stored.tree, {"default": {"p": np.ones(3, np.float32)}, "metrics": {"loss": 1.5}})
    assert stored.notes == ("the only step is 3",)


def test_a_manager_with_several_steps_asks_for_one(tmp_path: Path) -> None:
    with manager(tmp_path / "run", step_prefix="ckpt", step_format_fixed_length=6) as run:
        for step in (7, 20, 100):
            run.save(step, args=ocp.args.StandardSave({"p": jnp.full(3, step)}))
    (tmp_path / "run" / "ckpt_000200.orbax-checkpoint-tmp-5").mkdir()
    with Source(tmp_path / "run") as source:
        assert steps(source) == (Step(7, "ckpt_000007"), Step(20, "ckpt_000020"), Step(100, "ckpt_000100"))
        with pytest.raises(UsageError, match=r"holds 3 steps: 7, 20, 100\n.*step=100 \(--step 100\)"):
            BACKEND.open(source)
        tree = BACKEND.open(source.member("ckpt_000020")).tree
        assert tree["p"].read().tolist() == [20, 20, 20]


def test_items_by_name(tmp_path: Path) -> None:
    numpy_state = np.random.RandomState(3).get_state()
    with manager(tmp_path / "run") as run:
        run.save(
            1,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave({"p": jnp.ones(3)}),
                meta=ocp.args.JsonSave({"epoch": 1, "cfg": [1, None]}),
                typed=ocp.args.JaxRandomKeySave(jax.random.key(4)),
                raw=ocp.args.JaxRandomKeySave(jax.random.PRNGKey(4)),
                numpy=ocp.args.NumpyRandomKeySave(numpy_state),
            ),
        )
    tree = load(tmp_path / "run" / "1").tree
    assert tree["meta"] == {"epoch": 1, "cfg": [1, None]}
    assert isinstance(tree["typed"], Record)
    assert tree["typed"]["data"].tolist() == [0, 4]
    assert tree["raw"].tolist() == [0, 4]
    assert isinstance(tree["numpy"], tuple)
    assert (tree["numpy"][0], tree["numpy"][2:]) == (numpy_state[0], numpy_state[2:])
    assert np.array_equal(tree["numpy"][1], numpy_state[1])


def test_typed_keys_and_nnx_states(tmp_path: Path) -> None:
    keys = {"one": jax.random.key(3), "many": jax.random.split(jax.random.key(3, impl="rbg"), 4)}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "keys", keys)
        checkpointer.save(tmp_path / "nnx", nnx.state(nnx.Linear(2, 3, rngs=nnx.Rngs(0))))
    tree = load(tmp_path / "keys").tree
    assert (tree["one"].type_name, tree["one"]["impl"], tree["many"]["impl"]) == (
        "jax.random.key",
        "threefry2x32",
        "rbg",
    )
    assert np.array_equal(tree["many"]["data"], jax.random.key_data(keys["many"]))
    with Source(tmp_path / "nnx") as source:
        tree = BACKEND.open(source).tree
        assert {name: leaf["value"].shape for name, leaf in tree.items()} == {"bias": (3,), "kernel": (2, 3)}


SHARDED = """
import sys, jax, numpy as np, orbax.checkpoint as ocp
from jax.sharding import NamedSharding, PartitionSpec
mesh = jax.make_mesh((4, 2), ("x", "y"))
data = np.arange(64 * 24, dtype=np.float32).reshape(64, 24)
specs = {"both": ("x", "y"), "rows": ("x",), "columns": (None, "y"), "whole": (), "folded": (("x", "y"),)}
tree = {k: jax.device_put(data, NamedSharding(mesh, PartitionSpec(*s))) for k, s in specs.items()}
for ocdbt in (False, True):
    for zarr3 in (False, True):
        ocp.PyTreeCheckpointer(use_ocdbt=ocdbt, use_zarr3=zarr3).save(f"{sys.argv[1]}/{ocdbt:d}{zarr3:d}", tree)
"""


def test_a_tree_sharded_over_eight_devices_opens_on_one(tmp_path: Path) -> None:
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", SHARDED, str(tmp_path)], check=True, env={**os.environ, **flags})
    data = np.arange(64 * 24, dtype=np.float32).reshape(64, 24)
    folders = sorted(tmp_path.iterdir())
    assert len(folders) == 4
    for folder in folders:
        same(load(folder).tree, dict.fromkeys(("both", "rows", "columns", "whole", "folded"), data))
        with Source(folder) as source:
            array = BACKEND.open(source).tree["both"]
            assert len(array.pieces) == 8
            assert np.array_equal(array[15:33, 11:13], data[15:33, 11:13])


GOLDEN_FILES = [path for path in compare.expectations() if path.parent.name == "orbax"]


@pytest.mark.parametrize("path", GOLDEN_FILES, ids=lambda path: path.name.removesuffix(".expected.json"))
def test_golden_files(path: Path) -> None:
    expected = compare.load(path)
    with Source(compare.ROOT / expected["file"]) as source:
        assert BACKEND.sniff(source)
        known = {step.number: step.name for step in steps(source)}
        assert list(known) == expected.get("steps", [])
        for chosen, part in compare.openings(expected):
            opened = BACKEND.open(source.member(known[chosen["step"]]) if chosen else source)
            assert list(compare.differences(opened.tree, part)) == []


def test_there_are_golden_files_of_each_vintage() -> None:
    assert {path.name.partition("_")[0] for path in GOLDEN_FILES} == {"0.2.7", "0.11.5", "0.12.8"}


# Zarr, as tensorstore writes it.

DATA = np.arange(7 * 9, dtype=np.int32).reshape(7, 9)


def zarr_item(path: Path, metadata: Mapping[str, Any], driver: str = "zarr", data: np.ndarray = DATA) -> Path:
    """Write an item with one array `w` through tensorstore."""
    store = {"driver": "file", "path": f"{path}/w/"}
    spec = {"driver": driver, "kvstore": store, "metadata": {"shape": list(data.shape), **metadata}}
    ts.open(spec, create=True, dtype=data.dtype.name).result().write(data).result()
    entry = {
        "key_metadata": [{"key": "w", "key_type": 2}],
        "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False},
    }
    (path / "_METADATA").write_text(json.dumps({"tree_metadata": {"('w',)": entry}}))
    return path


@pytest.mark.parametrize("chunks", [[7, 9], [3, 4], [10, 20]])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<i4", ">i4"])
@pytest.mark.parametrize(
    "compressor",
    [
        None,
        {"id": "zstd", "level": 1},
        {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1},
        {"id": "gzip"},
    ],
    ids=lambda compressor: compressor["id"] if compressor else "raw",
)
@pytest.mark.parametrize("separator", [".", "/"])
def test_zarr_2(
    tmp_path: Path, chunks: list[int], order: str, dtype: str, compressor: Any, separator: str
) -> None:
    metadata = {"chunks": chunks, "order": order, "dtype": dtype, "compressor": compressor}
    same(load(zarr_item(tmp_path, {**metadata, "dimension_separator": separator})).tree, {"w": DATA})


def sharding(inner: list[Any], **configuration: Any) -> dict[str, Any]:
    return {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [2, 3],
            "codecs": inner,
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
            **configuration,
        },
    }


LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
ZSTD = {"name": "zstd", "configuration": {"level": 1, "checksum": True}}
CODECS = {
    "raw": [LITTLE],
    "big": [{"name": "bytes", "configuration": {"endian": "big"}}],
    "crc32c": [LITTLE, {"name": "crc32c"}],
    "transpose": [{"name": "transpose", "configuration": {"order": [1, 0]}}, LITTLE, ZSTD],
    "gzip": [LITTLE, {"name": "gzip", "configuration": {"level": 5}}],
    "sharded": [sharding([LITTLE, ZSTD])],
    "sharded_start": [sharding([LITTLE], index_location="start")],
}


@pytest.mark.parametrize("codecs", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("encoding", ["default", "v2"])
def test_zarr_3(tmp_path: Path, codecs: list[Any], encoding: str) -> None:
    metadata = {
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 6]}},
        "chunk_key_encoding": {"name": encoding},
        "codecs": codecs,
    }
    same(load(zarr_item(tmp_path, metadata, "zarr3")).tree, {"w": DATA})


def test_raw_arrays_are_windows_of_their_files(tmp_path: Path) -> None:
    with Source(zarr_item(tmp_path, {"chunks": [7, 9], "compressor": None})) as source:
        window = BACKEND.open(source).tree["w"].file_window()
        assert window is not None
        assert isinstance(window[0], FileStorage)
        assert window[1:] == (0, DATA.nbytes)


def test_chunks_that_are_not_stored(tmp_path: Path) -> None:
    path = zarr_item(tmp_path, {"chunks": [3, 4], "compressor": None, "fill_value": 7, "dtype": "<i4"})
    (path / "w" / "1.1").unlink()
    with pytest.raises(DamagedFileError, match=r"w: chunk 1\.1 is missing"):
        load(path)
    metadata = json.loads((path / "_METADATA").read_text())
    (path / "_METADATA").write_text(json.dumps({**metadata, "store_array_data_equal_to_fill_value": False}))
    expected = DATA.copy()
    expected[3:6, 4:8] = 7
    same(load(path).tree, {"w": expected})


def test_an_uncompressed_database_is_read_from_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_FILES", 0)
    path = save(tmp_path / "c", {"w": np.arange(2000.0)})
    with Source(path) as source:
        window = BACKEND.open(source).tree["w"].file_window()
        assert window is not None
        assert window[0].source.path.startswith(f"{path}/d/")


def test_a_deep_database_is_walked(tmp_path: Path) -> None:
    path = save(tmp_path / "c", {f"w{i}": np.full(2, i) for i in range(100)})
    shutil.rmtree(path / "d")
    (path / "manifest.ocdbt").unlink()
    config = {"max_decoded_node_bytes": 500, "max_inline_value_bytes": 8}
    store = ts.KvStore.open({"driver": "ocdbt", "base": f"file://{path}/", "config": config}).result()
    for i in range(100):
        store.write(f"w{i}/.zarray", writing.array_document((2,), "int64")).result()
        store.write(f"w{i}/0", np.full(2, i + 1).tobytes()).result()
    same(load(path).tree, {f"w{i}": np.full(2, i + 1) for i in range(100)})


# Hostile and damaged directories.


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return save(tmp_path / "c", {"a": {"w": np.arange(6.0)}, "s": "text"})


def zarray(path: Path, **changes: Any) -> None:
    file = path / "a.w" / ".zarray"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shape": [1 << 62], "chunks": [1]}, "beyond what can be addressed"),
        ({"shape": [1 << 40], "chunks": [1]}, "more than .* chunks"),
        ({"shape": [1 << 40], "chunks": [1 << 40]}, "has 48 bytes where"),
        (
            {"shape": [1 << 40], "chunks": [1 << 40], "compressor": {"id": "zstd"}},
            "declares 8796093022208 bytes",
        ),
        ({"shape": [6], "chunks": [0]}, "chunks is not a list of sizes"),
        ({"shape": [-6]}, "shape is not a list of sizes"),
        ({"shape": [True]}, "shape is not a list of sizes"),
        ({"shape": [6, 1]}, "shape has 2 dimensions"),
        ({"shape": [1] * 70, "chunks": [1] * 70}, "beyond what can be addressed"),
        ({"dtype": "|O"}, "data type"),
        ({"dtype": [["a", "<f8"]]}, "data type"),
        ({"dtype": "<f4"}, "has 48 bytes where 24 are declared"),
        ({"order": "X"}, "order is neither"),
        ({"zarr_format": 9}, "zarr_format is 9"),
        ({"compressor": {"id": "zstd"}}, "cannot be decoded"),
        ({"compressor": {"id": "no such"}}, "codecs cannot be used"),
        ({"filters": [{"id": "delta"}]}, "codecs cannot be used"),
    ],
)
def test_documents_that_contradict_the_bytes(plain: Path, changes: Mapping[str, Any], reason: str) -> None:
    zarray(plain, **changes)
    with pytest.raises(CheckpointError, match=rf"a\.w.*{reason}"):
        load(plain)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "[" * 100_000, '{"tree_metadata": 3}', '{"tree_metadata": {"x": {}}}']
)
def test_metadata_that_is_none(plain: Path, text: str) -> None:
    (plain / "_METADATA").write_text(text)
    with pytest.raises(DamagedFileError, match="_METADATA"):
        load(plain)


def entry(*keys: str, kind: int = 2, value: str = "np.ndarray") -> dict[str, Any]:
    return {
        "key_metadata": [{"key": key, "key_type": kind} for key in keys],
        "value_metadata": {"value_type": value, "skip_deserialize": False},
    }


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([entry("..", "..", "secret")], "the array is missing|leads out"),
        ([entry("../../secret")], "leads out"),
        ([entry("/etc")], "the array is missing"),
        ([entry("a", "w"), entry("a", "w", "x", value="None")], "inside another"),
        ([entry("a", value="None"), entry("a", "w")], "inside another"),
        ([entry("a", "w"), entry("a", "w")], "given twice"),
        ([entry(*["x"] * 600, value="None")], "nested deeper"),
        ([entry("s", value="string"), entry("t", value="string")], "a text is missing"),
        ([entry("nothing")], "the array is missing"),
    ],
)
def test_trees_that_cannot_be(plain: Path, entries: list[Any], reason: str) -> None:
    tree = {str(i): entry for i, entry in enumerate(entries)}
    (plain / "_METADATA").write_text(json.dumps({"tree_metadata": tree}))
    with pytest.raises(CheckpointError, match=reason):
        load(plain)


def test_a_list_with_gaps_stays_a_dict(plain: Path) -> None:
    tree = {"x": entry("1", kind=1, value="None"), "y": entry("1000000000", kind=1, value="Dict")}
    (plain / "_METADATA").write_text(json.dumps({"tree_metadata": tree}))
    assert load(plain).tree == {"1": None, "1000000000": {}}


@pytest.mark.parametrize("name", ["a.w", "a.w/0", "a.w/.zarray", "_METADATA", "_strings.json"])
def test_links_that_lead_out(plain: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    (plain / name).rename(outside)
    (plain / name).symlink_to(outside)
    with pytest.raises(UnsafePathError, match="link out of the checkpoint"):
        load(plain)


@pytest.mark.parametrize("size", [0, 47, 49])
def test_chunks_of_another_length(plain: Path, size: int) -> None:
    (plain / "a.w" / "0").write_bytes(bytes(size))
    with pytest.raises(DamagedFileError, match=f"a.w: chunk 0 has {size} bytes where 48 are declared"):
        load(plain)


def test_a_fifo_does_not_block(plain: Path) -> None:
    (plain / "a.w" / "0").unlink()
    os.mkfifo(plain / "a.w" / "0")
    with pytest.raises(UnsafePathError, match="neither a regular file"):
        load(plain)


def test_unfinished_saves_are_refused(plain: Path) -> None:
    path = plain.rename(plain.parent / "c.orbax-checkpoint-tmp-1234")
    with Source(path) as source, pytest.raises(UsageError, match="did not finish"):
        BACKEND.open(source)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    tree = {f"w{i}": np.random.default_rng(i).integers(0, 9, 3000) for i in range(4)}
    ocp.PyTreeCheckpointer().save(tmp_path / "c", tree)
    return tmp_path / "c"


def test_a_damaged_database_is_refused_or_unharmed(database: Path) -> None:
    before = load(database).tree
    files = [*database.rglob("manifest.ocdbt"), *database.rglob("d/*")]
    assert len(files) >= 3
    refused = 0
    for file in files:
        data = file.read_bytes()
        for position in np.linspace(0, len(data) - 1, 25).astype(int):
            for changed in (
                data[:position],
                data[:position] + bytes([data[position] ^ 64]) + data[position + 1 :],
            ):
                file.write_bytes(changed)
                try:
                    tree = load(database).tree
                except CheckpointError:
                    refused += 1
                else:
                    assert sorted(tree) == sorted(before)
        file.write_bytes(data)
    assert refused > 40
    same(load(database).tree, before)


def test_a_database_that_refers_outside(database: Path, tmp_path: Path) -> None:
    """The nodes of OCDBT name data files by path; a crc32c is no protection against an author."""
    node = max((database / "d").iterdir(), key=lambda file: file.stat().st_size)
    name = node.name[1:]  # so that the new path is as long as the old one, which the manifest states
    shutil.move(node, tmp_path / name)
    manifest = database / "manifest.ocdbt"
    manifest.write_bytes(with_other_path(manifest.read_bytes(), f"d/{node.name}", f"../{name}"))
    with pytest.raises(UnsafePathError, match="leads out of the directory"):
        load(database)


def with_other_path(manifest: bytes, old: str, new: str) -> bytes:
    """Rewrite a path in a manifest to one of the same length, uncompressed and with the right checksum."""
    body = unpacked(manifest[14:-4]).replace(old.encode(), new.encode())
    assert new.encode() in body and len(new) == len(old)
    # magic, length, version, compression 0 (none), body, crc32c
    content = manifest[:4] + (len(body) + 18).to_bytes(8, "little") + b"\0\0" + body
    return content + crc32c(content).to_bytes(4, "little")


def unpacked(frame: bytes) -> bytes:
    """Unpack a zstd frame of unknown length with tensorstore, by trying lengths."""
    context = ts.Context()
    store = ts.KvStore.open("memory://z/", context=context).result()
    store.write("0", frame).result()
    for length in range(1, 4000):
        metadata = {
            "shape": [length],
            "chunks": [length],
            "dtype": "|u1",
            "compressor": {"id": "zstd", "level": 1},
        }
        spec = {"driver": "zarr", "kvstore": "memory://z/", "metadata": metadata}
        try:
            array = ts.open(spec, context=context, open=True, assume_metadata=True).result().read().result()
        except ValueError:
            continue
        return bytes(array.tobytes())
    raise AssertionError("no length fits")


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


ZSTD_BOMB = b"\x28\xb5\x2f\xfd\x00\x88" + b"\x02\x00\x10\x00" * 2000 + b"\x03\x00\x00\x00"
"""RLE blocks of 128 KiB each: 8 KiB that unpack to 256 MiB."""


def test_bombs(plain: Path) -> None:
    assert bombs.zstd_bound(ZSTD_BOMB) == 2000 << 17
    for compressor, bomb in (
        ({"id": "zstd"}, ZSTD_BOMB),
        ({"id": "gzip"}, zlib.compress(bytes(200 << 20), 9, 31)),
        (
            {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1},
            b"\x02\x01\x01\x08\0\0\0\x70" + bytes(20),
        ),
    ):
        zarray(plain, compressor=compressor)
        (plain / "a.w" / "0").write_bytes(bomb)
        with pytest.raises(LimitError, match=r"a\.w/0: a chunk of 48 bytes unpacks to"):
            load(plain)


def test_zstd_bounds_hold_for_what_tensorstore_writes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number, data in enumerate(
        (np.zeros(1 << 20, np.int32), rng.integers(0, 99, 1 << 20).astype(np.int32))
    ):
        path = zarr_item(
            tmp_path / str(number), {"chunks": [1 << 20], "compressor": {"id": "zstd"}}, data=data
        )
        chunk = (path / "w" / "0").read_bytes()
        assert data.nbytes <= bombs.zstd_bound(chunk) <= data.nbytes + (1 << 17)


@pytest.mark.parametrize("name", ["", "w"])
def test_an_ordinary_directory_is_not_claimed(tmp_path: Path, name: str) -> None:
    (tmp_path / name / "sub").mkdir(parents=True)
    (tmp_path / name / "sub" / "metadata").write_text("{}")
    with Source(tmp_path) as source:
        assert not BACKEND.sniff(source)


# Without the heavy libraries.

IMPORTS = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
from ckpt_core.source import Source
from ckpt_flax.orbax import OrbaxBackend
tree = OrbaxBackend().open(Source(sys.argv[1])).tree
print(tree["a"]["w"].read().tolist(), tree["n"])
"""


def opened_without(path: Path, *blocked: str) -> subprocess.CompletedProcess[str]:
    script = IMPORTS.format(blocked=blocked)
    return subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )


def test_a_list_of_array_metadata_that_is_cut_off(tmp_path: Path) -> None:
    ocp.PyTreeCheckpointer().save(tmp_path / "c", {"key": jax.random.key(1), "w": jnp.ones(2)})
    file = tmp_path / "c" / "array_metadatas" / "process_0"
    file.write_bytes(file.read_bytes()[:30])  # without it, a typed key would open as the plain array below it
    with pytest.raises(DamagedFileError, match="is no list of array metadata"):
        open_checkpoint(tmp_path / "c")


def test_plain_directories_need_neither_tensorstore_nor_jax(tmp_path: Path) -> None:
    path = save(tmp_path / "c", {"a": {"w": np.arange(3.0)}, "n": 4})
    done = opened_without(path, "tensorstore", "jax", "orbax", "flax", "ml_dtypes", "msgpack")
    assert (done.stdout, done.returncode) == ("[0.0, 1.0, 2.0] 4\n", 0), done.stderr


def test_a_database_names_what_it_needs(tmp_path: Path) -> None:
    ocp.PyTreeCheckpointer().save(tmp_path / "c", {"a": {"w": np.arange(3.0)}, "n": 4})
    for one in ("tensorstore", "zstandard"):
        done = opened_without(tmp_path / "c", one, "jax", "orbax", "flax")
        assert (done.stdout, done.returncode) == ("[0.0, 1.0, 2.0] 4\n", 0), done.stderr
    done = opened_without(tmp_path / "c", "tensorstore", "zstandard")
    assert done.returncode == 1
    assert "MissingDependencyError" in done.stderr
    assert "pip install tensorstore" in done.stderr


# Live jax objects.


def test_jax_trees_and_back() -> None:
    params = {"w": jnp.ones((2, 3), jnp.bfloat16), "i": jnp.arange(3)}
    tx = optax.adam(1e-3)
    live = {
        "state": TrainState.create(apply_fn=None, params=params, tx=tx),
        "key": [jax.random.key(1), jax.random.split(jax.random.key(2, impl="rbg"), 3)],
        "model": nnx.state(nnx.Linear(2, 3, rngs=nnx.Rngs(0))),
        "wide": np.arange(3),
    }
    tree = from_jax(live)
    assert list(tree["state"]) == ["step", "params", "opt_state"]
    assert tree["state"]["opt_state"][0].type_name.endswith("ScaleByAdamState")
    assert tree["key"][0]["impl"] == "threefry2x32"
    back = to_jax(tree)
    assert isinstance(back["state"]["params"]["w"], jax.Array)
    same(back["state"]["params"], params)
    assert jax.random.key_impl(back["key"][1]) == jax.random.key_impl(live["key"][1])
    assert jnp.array_equal(jax.random.key_data(back["key"][1]), jax.random.key_data(live["key"][1]))
    assert back["wide"].dtype == np.int64
    assert isinstance(back["model"]["kernel"], jax.Array)


@pytest.mark.parametrize("key", [None, "model"])
def test_a_state_dict_of_torch_is_restored_into_a_target(key: str | None, tmp_path: Path) -> None:
    weights = torch.nn.BatchNorm1d(3).state_dict()
    assert weights._metadata  # which is an attribute of the dict, and no entry of it
    torch.save(weights if key is None else {key: weights}, tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "a_orbax")
    assert not (tmp_path / "a_orbax" / "manifest.ocdbt").exists(), "names that are safe are files"
    expected = {name: tensor.numpy() for name, tensor in weights.items()}
    target = jax.tree.map(np.zeros_like, expected if key is None else {key: expected})
    restored = ocp.StandardCheckpointer().restore(tmp_path / "a_orbax", target)
    restored = restored if key is None else restored[key]
    assert restored.keys() == expected.keys()
    assert all(np.array_equal(restored[name], expected[name]) for name in expected)
    assert diff(tmp_path / "a.pth", tmp_path / "a_orbax").is_equal
    with open_checkpoint(tmp_path / "a_orbax") as ckpt:
        found = ckpt.tree if key is None else ckpt.tree[key]
        assert found.state == {"_metadata": dict(weights._metadata)}


@pytest.mark.parametrize("loader", LOADERS)
def test_names_that_are_one_for_orbax_are_kept_apart(loader: str, tmp_path: Path) -> None:
    """Orbax itself stores one of two arrays whose keys, joined by dots, are one name."""
    one, two, three = (np.full(2, value, np.float32) for value in (1, 2, 3))
    tree = {"a.b": one, "a": {"b": two, "b'": three}, "w": {"0": one}, "w.0": two}
    receipt = save_checkpoint(tmp_path / "a_orbax", tree)
    assert not receipt.losses
    with open_checkpoint(tmp_path / "a_orbax") as ckpt:
        assert list(ckpt.tree) == ["a.b", "a", "w", "w.0"]
        same(ckpt.tree, tree)
    restored = LOADERS[loader](tmp_path / "a_orbax")
    same(restored, {"a.b": one, "a": {"b''": two, "b'": three}, "w": {"0": one}, "w.0'": two})


@pytest.mark.parametrize(
    "tree",
    [
        {"a.b": 1, "a": {"b": 2}},
        {"a.b": "x", "a": {"b": "y"}},
        {"a.b": 3, "a": {"b": np.ones(2)}},
        {"a.b": np.ones(2), "a": {"b": True}},
        {"w.0": np.ones(1), "w": [np.zeros(1), 2.5], "w.1": 1.5},
        {"w": [np.zeros(1)], "w.0": np.ones(1)},
        {"a": np.ones(1), "a/": np.zeros(1), "/": np.full(1, 2.0)},
    ],
    ids=str,
)
def test_values_whose_names_are_one_for_orbax_come_back(tree: Any, tmp_path: Path) -> None:
    receipt = save_checkpoint(tmp_path / "a_orbax", tree, strict=True)
    assert not receipt.losses
    with open_checkpoint(tmp_path / "a_orbax") as ckpt:
        assert list(ckpt.tree) == list(tree)
        same(ckpt.tree, tree)
    for load_it in LOADERS.values():
        restored = jax.tree.leaves(load_it(tmp_path / "a_orbax"))
        assert sorted(map(str, restored)) == sorted(map(str, jax.tree.leaves(tree)))


def test_elements_of_two_lists_that_are_one_for_orbax_are_named(tmp_path: Path) -> None:
    tree = {"a.0": [np.ones(1)], "a": {"0": [np.zeros(1)]}}
    receipt = save_checkpoint(tmp_path / "a_orbax", tree)
    assert [(loss.path, "left out" in loss.text) for loss in receipt.losses] == [("a/0/[0]", True)]


@pytest.mark.parametrize("key", ["/", "a/", "a//b", "k."])
def test_slashes_in_the_names_of_a_database(key: str, tmp_path: Path) -> None:
    tree = {key: np.ones(2), "k": {key: np.zeros(2)}}
    ocp.PyTreeCheckpointer().save(tmp_path / "theirs", tree)
    same(load(tmp_path / "theirs").tree, tree)


SLASHED_TEXTS = [
    {"a/b": "text", "w": np.ones(2)},
    {"x": {"a/b": "1", "a/c": "2"}, "y": "3"},
    {"/p": "v", "q/": "w", "a//b": ""},
    {"a.b/c": "q", "a": {"b/d": "r"}},
    {"a/b": "t", "a": np.ones(1)},
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tree", [*SLASHED_TEXTS, {"a~0b": "tilde", "a~1b": "slash"}], ids=str)
def test_texts_that_orbax_saved_under_names_with_slashes(tree: Any, tmp_path: Path) -> None:
    ocp.PyTreeCheckpointer().save(tmp_path / "theirs", tree)
    same(load(tmp_path / "theirs").tree, tree)


@pytest.mark.parametrize("tree", SLASHED_TEXTS, ids=str)
def test_orbax_restores_texts_under_names_with_slashes(tree: Any, tmp_path: Path) -> None:
    assert not save_checkpoint(tmp_path / "a_orbax", tree).carried
    for load_it in LOADERS.values():
        same(load_it(tmp_path / "a_orbax"), tree)


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"~": "v", "k": "x"}, {"~": None, "k": "x"}),
        ({"a": "1", "a/b": "2"}, {"a": "1", "a/b": None}),
        ({"a/b": "2", "a": "1"}, {"a/b": "2", "a": None}),
        ({"a/b": {3}, "a": "q"}, {"a/b": "{3}", "a": None}),
        ({"/" * 2000: "deep", "k": "x"}, {"/" * 2000: None, "k": "x"}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_texts_that_no_pointer_tells_come_back_all_the_same(tree: Any, told: Any, tmp_path: Path) -> None:
    receipt = save_checkpoint(tmp_path / "a_orbax", tree, strict=True)
    assert receipt.carried
    with open_checkpoint(tmp_path / "a_orbax") as ckpt:
        assert ckpt.tree == tree
        assert list(ckpt.tree) == list(tree)
    for load_it in LOADERS.values():
        assert load_it(tmp_path / "a_orbax") == told


def test_arrays_are_adopted() -> None:
    adopted = BACKEND.adopt(jnp.ones((2,), jnp.bfloat16))
    assert isinstance(adopted, LazyArray)
    assert (adopted.shape, adopted.dtype) == ((2,), "bfloat16")
    assert BACKEND.adopt(np.ones(2)) is None
    key = BACKEND.adopt(jax.random.key(7, impl="rbg"))
    assert isinstance(key, Record) and key["impl"] == "rbg"
    assert np.array_equal(key["data"].read(), jax.random.key_data(jax.random.key(7, impl="rbg")))


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Orbax logs through absl; nothing of it is asserted here."""
    import logging

    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("use_zarr3", [False, True])
def test_frames_decode_the_same_with_and_without_zstandard(tmp_path, monkeypatch, use_zarr3):
    from ckpt_flax.orbax import zstd

    values = np.random.default_rng(0).standard_normal((50, 7)).astype(np.float32)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_zarr3=use_zarr3)) as checkpointer:
        checkpointer.save(tmp_path / "x", {"w": values})
    with open_checkpoint(tmp_path / "x") as ckpt:
        assert ckpt.params["w"].read().tobytes() == values.tobytes()
    monkeypatch.setattr(zstd, "_zstandard", lambda: None)
    with open_checkpoint(tmp_path / "x") as ckpt:
        assert ckpt.params["w"].read().tobytes() == values.tobytes()


def test_a_frame_that_is_no_chunk_is_left_to_tensorstore():
    import zstandard
    from ckpt_flax.orbax.plain import codec_of, decode_plain

    metadata = {"shape": [4], "compressor": {"id": "zstd"}, "filters": None, "order": "C", "dtype": "<f4"}
    spec = json.dumps({"driver": "zarr", "metadata": metadata})
    assert codec_of(spec) == "zstd"
    for changed in ({"order": "F"}, {"dtype": ">f4"}, {"compressor": None}, {"filters": [{"id": "delta"}]}):
        assert codec_of(json.dumps({"driver": "zarr", "metadata": {**metadata, **changed}})) is None

    def decoded(stored: bytes, extent: int) -> memoryview | None:
        read = memoryview(stored)
        return decode_plain(
            spec, lambda at, count: bytes(read[at : at + count]), len(stored), 16, (extent,), None
        )

    frame = zstandard.compress(bytes(range(16)))
    assert bytes(decoded(frame, 4)) == bytes(range(16))
    assert bytes(decoded(frame, 3)) == bytes(range(12))
    for bad in (frame[:-1], frame + b"x", zstandard.compress(bytes(17)), zstandard.compress(bytes(15)), b""):
        assert decoded(bad, 4) is None


def _frames() -> Iterator[tuple[str, bytes, bytes]]:
    """Frames of every kind: one segment or a window, blocks that are raw, of one byte, or compressed, checksums."""
    import zstandard

    rng = np.random.default_rng(3)
    noise = rng.bytes(300_000)
    contents = {
        "one byte": b"x",
        "noise": noise,
        "zeros": bytes(700_000),
        "mixed": bytes(200_000) + noise[:200_000] + b"abc" * 100_000,
        "floats": rng.standard_normal(100_000, dtype=np.float32).tobytes(),
    }
    for name, content in contents.items():
        for checksum in (False, True):
            for size in (False, True):
                packer = zstandard.ZstdCompressor(1, write_checksum=checksum, write_content_size=size)
                yield f"{name} {checksum} {size}", content, packer.compress(content)
                stream = packer.compressobj()
                pieces = [stream.compress(content[:1000]), stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)]
                pieces += [stream.compress(content[1000:]), stream.flush()]
                yield f"{name} {checksum} {size} streamed", content, b"".join(pieces)


def test_a_frame_unpacks_by_pieces_as_it_does_at_once(monkeypatch):
    """The step is so small that block headers lie across two reads; what is damaged is left to tensorstore."""
    import zstandard
    from ckpt_flax.orbax import zstd

    rng = np.random.default_rng(4)
    for name, content, frame in _frames():

        def unpacked(stored: bytes, nbytes: int) -> memoryview | None:
            view, room = memoryview(stored), memoryview(bytearray(nbytes))
            read = lambda at, count: bytes(view[at : at + count])  # noqa: E731
            return room if zstd.fill_from_frame(read, len(view), room) else None

        for step in (1 << 18, 1000, 7) if len(frame) < 10_000 else (1 << 18, 1000):
            monkeypatch.setattr(zstd, "_STEP", step)
            assert bytes(unpacked(frame, len(content))) == content, name
        assert unpacked(frame, len(content) + 1) is None, name
        assert unpacked(frame, len(content) - 1) is None, name
        for cut in range(1, min(len(frame), 12)):
            assert unpacked(frame[:-cut], len(content)) is None, (name, cut)
        for more in (b"x", b"\x28\xb5\x2f\xfd", zstandard.compress(b""), zstandard.compress(b"more"), frame):
            assert unpacked(frame + more, len(content)) is None, (name, more[:4])
        for _ in range(30):
            damaged = bytearray(frame)
            damaged[rng.integers(min(len(frame), 40))] ^= 1 << rng.integers(8)
            at_once = zstd.unpack_frame(bytes(damaged), len(content))
            by_pieces = unpacked(bytes(damaged), len(content))
            if at_once is not None and len(at_once) == len(content):
                assert by_pieces == at_once, name
            else:
                assert by_pieces is None, name


@pytest.mark.parametrize("mib", [1, 7, 30, 90])
def test_what_is_decoded_ahead_fits_the_budget(monkeypatch, mib):
    """Of chunks of any size, in order and not, with a larger one among them."""
    from ckpt_flax.orbax import ahead

    coding = ahead.Coding(json.dumps({"driver": "zarr", "metadata": {"compressor": {"id": "gzip"}}}), False)
    series = ahead.Series("x")
    sizes = [mib << 20] * 12 + [100 << 20] + [mib << 20] * 12
    chunks = [ahead.Chunk(series, coding, b"", (1,), size, f"w{i}", "0") for i, size in enumerate(sizes)]
    monkeypatch.setattr(ahead.Chunk, "decode", lambda self, room: memoryview(self.name.encode()))
    budget = ahead._BUDGET + 3 * series.largest // 2
    most = 0
    for index in [*range(20), 3, 4, 5, 6, 2, *range(10, 25)]:
        assert bytes(chunks[index]()) == f"w{index}".encode()
        waiting = [chunk for chunk in chunks if chunk.ahead is not None]
        ahead_of_it = [chunk for chunk in waiting if int(chunk.name[1:]) > index]
        assert len(ahead_of_it) == len(waiting)
        most = max(most, len(waiting))
        assert not waiting or sum(chunk.nbytes for chunk in waiting) + chunks[index].nbytes <= budget
    assert most >= 2 or mib == 90
