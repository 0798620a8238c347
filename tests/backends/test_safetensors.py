"""safetensors: the library's own loaders as judges in both directions, shards, and hostile files."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.flax
import safetensors.numpy
import safetensors.torch
import torch
from ckpt_safetensors import SafetensorsBackend
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open

from ckpt_core.arrays import LazyArray
from ckpt_core.backend import Stored
from ckpt_core.errors import (
    CheckpointError,
    ClosedError,
    DamagedFileError,
    UnsafePathError,
    UnsupportedError,
    UsageError,
)
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_core.testing import random_array
from ckpt_core.tree import Record
from tests.backends.golden_files import GOLDEN, check, expectation, golden_files

BACKEND = SafetensorsBackend()
F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def save(
    path: Path, tree: Mapping[str, LazyArray], attributes: Mapping[str, Any] | None = None, **options: object
) -> None:
    with Sink(path) as sink:
        BACKEND.save(Stored(dict(tree), attributes or {}), sink, options)


def load(path: Path) -> tuple[dict[str, np.ndarray], Stored]:
    with Source(path) as source:
        assert BACKEND.sniff(source)
        stored = BACKEND.open(source)
        return {name: array.read() for name, array in stored.tree.items()}, stored


def file_of(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def opened(path: Path, content: bytes) -> Stored:
    path.write_bytes(content)
    with Source(path) as source:
        return BACKEND.open(source)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


# The library on the other side.


def test_reads_what_the_torch_loader_wrote(path: Path) -> None:
    names = [
        "bool",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "uint32",
        "int32",
        "uint64",
        "int64",
        "float16",
        "bfloat16",
        "float32",
        "float64",
        "complex64",
    ]
    names += ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"]
    expected = {name: random_array(name, (3, 5)) for name in names}
    tensors = {}
    for name, array in expected.items():
        raw = torch.frombuffer(bytearray(array.read().tobytes()), dtype=torch.uint8)
        tensors[name] = raw.view(getattr(torch, name)).reshape(3, 5)
    safetensors.torch.save_file(tensors, path, {"format": "pt", "note": "ä"})
    arrays, stored = load(path)
    assert stored.attributes == {"format": "pt", "note": "ä"}
    for name, array in expected.items():
        assert arrays[name].dtype == array.read().dtype
        assert arrays[name].tobytes() == array.read().tobytes()


def test_the_torch_loader_reads_every_dtype(path: Path) -> None:
    assert BACKEND.holds is not None
    tree = {name: random_array(name, (3, 2)) for name in sorted(BACKEND.holds.dtypes)}
    tree["0-d"] = random_array("float64", ())
    tree["empty"] = random_array("float32", (0, 3))
    save(path, tree, {"format": "pt"})
    tensors = safetensors.torch.load_file(path)
    assert sorted(tensors) == sorted(tree)
    for name, tensor in tensors.items():
        assert tuple(tensor.shape) == tree[name].shape
        raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
        assert raw.tobytes() == tree[name].read().tobytes()


def test_the_flax_loader_reads_it(path: Path) -> None:
    tree = {name: random_array(name, (3, 2)) for name in ("float32", "bfloat16", "int32", "bool", "uint8")}
    save(path, tree)
    for name, array in safetensors.flax.load_file(str(path)).items():
        assert np.asarray(array).tobytes() == tree[name].read().tobytes()


def test_tensors_are_aligned_and_the_header_keeps_the_order(path: Path) -> None:
    tree = {
        f"{i}.{name}": random_array(name, (3,), i)
        for i, name in enumerate(["uint8", "float64", "int16", "float32", "bool"])
    }
    save(path, tree)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    header = json.loads(content[8 : 8 + length])
    assert list(header) == list(tree)
    for name, info in header.items():
        assert (8 + length + info["data_offsets"][0]) % tree[name].read().dtype.itemsize == 0


def test_the_bytes_on_disk(path: Path) -> None:
    save(
        path,
        {"a": LazyArray.from_numpy(np.array([1], np.uint8)), "b": LazyArray.from_numpy(np.float32(1))},
        {"k": "v"},
    )
    header = (
        b'{"__metadata__":{"k":"v"},"a":{"dtype":"U8","shape":[1],"data_offsets":[4,5]},'
        b'"b":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}'
    )
    header += b" " * (-len(header) % 8)
    assert path.read_bytes() == struct.pack("<Q", len(header)) + header + b"\x00\x00\x80\x3f\x01"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tree=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
            lambda name: name != "__metadata__"
        ),
        st.tuples(
            st.sampled_from(["float32", "int8", "uint16", "float64", "bool", "complex64"]),
            st.lists(st.integers(0, 4), max_size=3),
        ),
        max_size=8,
    )
)
def test_round_trips_and_the_numpy_loader_agrees(path: Path, tree: dict[str, tuple[str, list[int]]]) -> None:
    path.unlink(missing_ok=True)
    arrays = {
        name: random_array(dtype, shape, seed) for seed, (name, (dtype, shape)) in enumerate(tree.items())
    }
    save(path, arrays)
    ours, stored = load(path)
    theirs = safetensors.numpy.load_file(path)
    assert list(stored.tree) == list(arrays)
    assert sorted(theirs) == sorted(arrays)
    for name, array in arrays.items():
        assert ours[name].dtype == theirs[name].dtype == array.read().dtype
        assert ours[name].tobytes() == theirs[name].tobytes() == array.read().tobytes()


def test_packed_dtypes_are_records(path: Path) -> None:
    header = {
        "x": {"dtype": "F4", "shape": [2, 4], "data_offsets": [0, 4]},
        "y": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [4, 7]},
    }
    stored = opened(path, file_of(header, bytes(range(7))))
    with safe_open(path, framework="pt") as official:
        packed = official.get_tensor("x").view(torch.uint8).numpy()
    record = stored.tree["x"]
    assert isinstance(record, Record) and record.type_name == "safetensors.F4" and record["shape"] == [2, 4]
    assert record["data"].nbytes == packed.size == 4
    assert stored.tree["y"]["data"].shape == (3,)
    assert "2 tensors have less than 8 bits" in stored.notes[0]


# What the library refuses is refused, and more.

GOOD: dict[str, bytes] = {
    "empty": file_of({}),
    "spaces behind": file_of(json.dumps({"x": F32}).encode() + b"  ", bytes(4)),
    "null metadata": file_of({"__metadata__": None, "x": F32}, bytes(4)),
    "an unknown field": file_of({"x": {**F32, "note": 1}}, bytes(4)),
    "a NUL in a name": file_of({"a\0b": F32}, bytes(4)),
    "an emoji as surrogates": file_of({"\U0001f600": F32}, bytes(4)),
    "data in another order": file_of(
        {
            "b": {**F32, "data_offsets": [4, 8]},
            "a": F32,
            "e": {"dtype": "U8", "shape": [0], "data_offsets": [4, 4]},
        },
        bytes(8),
    ),
    "not aligned": file_of(
        {"z": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, "x": {**F32, "data_offsets": [1, 5]}},
        bytes(5),
    ),
}

BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "has 0 bytes"),
    "seven bytes": (bytes(7), "has 7 bytes"),
    "a header beyond the end": (file_of({}, length=1000), "a header of 1000 bytes is declared, and 2 follow"),
    "a header beyond the cap": (file_of({}, length=100_000_001), "100000000 are allowed"),
    "a header of 2^62": (file_of({}, length=2**62), "are allowed"),
    "a header of 2^64 - 1": (file_of({}, length=2**64 - 1), "are allowed"),
    "no JSON": (file_of(b"{nonsense}"), "not valid JSON"),
    "a list": (file_of(b"[]"), "JSON object is expected"),
    "two objects": (file_of(b"{}{}"), "not valid JSON"),
    "zeros behind the header": (file_of(b"{}\0\0"), "not valid JSON"),
    "no UTF-8": (file_of(b'{"\xff":{}}'), "not valid UTF-8"),
    "a lone surrogate": (file_of(b'{"\\ud800":%s}' % json.dumps(F32).encode(), bytes(4)), "not valid UTF-8"),
    "NaN": (file_of(b'{"__metadata__":{"a":NaN}}'), "NaN is no JSON"),
    "nesting": (file_of(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "nested too deeply"),
    "lists in lists": (file_of(b'{"a":' + b"[" * 500_000 + b"]" * 500_000 + b"}"), "nested too deeply"),
    "a huge integer": (
        file_of(b'{"x":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}', bytes(4)),
        "not valid JSON",
    ),
    "a name twice": (
        file_of(b'{"x":%s,"x":%s}' % ((json.dumps(F32).encode(),) * 2), bytes(4)),
        "the key 'x' is there twice",
    ),
    "a field twice": (
        file_of(b'{"x":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
        "the key 'dtype' is there twice",
    ),
    "metadata twice": (file_of(b'{"__metadata__":{"a":"1","a":"2"}}'), "the key 'a' is there twice"),
    "metadata of numbers": (file_of({"__metadata__": {"a": 1}}), "__metadata__: is not an object of texts"),
    "metadata as a list": (file_of({"__metadata__": ["a"]}), "__metadata__: is not an object of texts"),
    "bytes of no tensor": (file_of({}, b"abcd"), "4 bytes behind the last tensor"),
    "a byte too many": (file_of({"x": F32}, bytes(5)), "1 bytes behind the last tensor"),
    "a byte too few": (file_of({"x": F32}, bytes(3)), "x: bytes 0 to 4 are declared, and 3 are there"),
    "an overlap": (
        file_of({"x": F32, "y": {**F32, "data_offsets": [2, 6]}}, bytes(6)),
        "y: overlaps the tensor before",
    ),
    "the same bytes": (file_of({"x": F32, "y": F32}, bytes(4)), "overlaps the tensor before"),
    "a hole": (
        file_of({"x": F32, "y": {**F32, "data_offsets": [8, 12]}}, bytes(12)),
        "y: leaves a hole before it",
    ),
    "a hole at the start": (file_of({"x": {**F32, "data_offsets": [4, 8]}}, bytes(8)), "x: leaves a hole"),
    "an empty tensor within another": (
        file_of({"e": {"dtype": "F32", "shape": [0], "data_offsets": [2, 2]}, "x": F32}, bytes(4)),
        "hole|overlaps",
    ),
    "offsets that go back": (file_of({"x": {**F32, "data_offsets": [4, 0]}}, bytes(4)), "x: bytes 4 to 0"),
    "negative offsets": (file_of({"x": {**F32, "data_offsets": [-4, 0]}}, bytes(4)), "x: bytes -4 to 0"),
    "huge offsets": (file_of({"x": {**F32, "data_offsets": [0, 2**62]}}, bytes(4)), "x: bytes 0 to"),
    "one offset": (file_of({"x": {**F32, "data_offsets": [0]}}, bytes(4)), "x: is not described"),
    "three offsets": (file_of({"x": {**F32, "data_offsets": [0, 4, 8]}}, bytes(4)), "x: is not described"),
    "an offset of 4.0": (file_of({"x": {**F32, "data_offsets": [0, 4.0]}}, bytes(4)), "x: is not described"),
    "a larger shape": (
        file_of({"x": {**F32, "shape": [2]}}, bytes(4)),
        r"x: shape \(2,\) of F32 takes 8 bytes, and 4",
    ),
    "a huge shape": (file_of({"x": {**F32, "shape": [2**62, 4]}}, bytes(4)), "x: shape"),
    "a huge empty shape": (
        file_of({"x": {"dtype": "F32", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}}),
        "impossible shape",
    ),
    "a negative shape": (file_of({"x": {**F32, "shape": [-1, -1]}}, bytes(4)), "x: impossible shape"),
    "a shape of 1.0": (file_of({"x": {**F32, "shape": [1.0]}}, bytes(4)), "x: impossible shape"),
    "a shape of true": (file_of({"x": {**F32, "shape": [True]}}, bytes(4)), "x: impossible shape"),
    "a shape that is a text": (file_of({"x": {**F32, "shape": "1"}}, bytes(4)), "x: is not described"),
    "70 dimensions": (file_of({"x": {**F32, "shape": [1] * 70}}, bytes(4)), "impossible shape"),
    "no dtype": (file_of({"x": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4)), "x: is not described"),
    "an unknown dtype": (file_of({"x": {**F32, "dtype": "F33"}}, bytes(4)), "x: has the dtype 'F33'"),
    "half a byte": (
        file_of({"x": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, bytes(2)),
        "x: shape",
    ),
    "a tensor that is null": (file_of({"x": None}), "x: is not described"),
    "a tensor that is a text": (file_of({"x": "dtype shape"}), "x: is not described"),
    "a tensor that is a list": (file_of({"x": ["F32", [1], [0, 4]]}, bytes(4)), "x: is not described"),
}

LENIENT = {"a name twice", "metadata twice", "a tensor that is a list"}
"""What the format's text forbids and its library takes."""


@pytest.mark.parametrize("name", GOOD)
def test_takes_what_the_library_takes(path: Path, name: str) -> None:
    opened_tree = opened(path, GOOD[name]).tree
    with safe_open(path, framework="np") as official:
        assert sorted(opened_tree) == sorted(official.keys())


@pytest.mark.parametrize("name", BAD)
def test_refuses_damaged_files(path: Path, name: str) -> None:
    content, message = BAD[name]
    with pytest.raises((DamagedFileError, UnsupportedError), match=message):
        opened(path, content)
    if name not in LENIENT:
        with pytest.raises((SafetensorError, ValueError, OverflowError)):
            safetensors.numpy.load(content)


def test_what_opens_after_damage_is_what_the_library_sees(path: Path) -> None:
    tree = {
        "a": random_array("float32", (2, 3)),
        "b": random_array("uint8", (5,)),
        "c": random_array("int16", ()),
    }
    save(path, tree, {"format": "pt"})
    whole = path.read_bytes()
    length = 8 + int.from_bytes(whole[:8], "little")
    random = np.random.default_rng(5)
    opened_count = 0
    for _ in range(1500):
        content = bytearray(whole)
        for _ in range(int(random.integers(1, 3))):
            content[int(random.integers(length))] = int(random.choice(list(b'0123456789{}[],:"FUI a\xff')))
        path.write_bytes(content)
        with Source(path) as source:
            try:
                arrays = {name: array.read() for name, array in BACKEND.open(source).tree.items()}
            except CheckpointError:
                continue
        opened_count += 1
        official = safetensors.numpy.load(bytes(content))
        assert {k: (v.dtype, v.shape, v.tobytes()) for k, v in arrays.items()} == {
            k: (v.dtype, v.shape, v.tobytes()) for k, v in official.items()
        }
    assert 20 < opened_count < 1480  # some damage is only another name


def test_what_cannot_be_written_is_said(path: Path) -> None:
    array = random_array("float32", (1,))
    with pytest.raises(UnsupportedError, match="__metadata__: only arrays"):
        save(path, {"__metadata__": array})
    with pytest.raises(UnsupportedError, match="dtype complex128"):
        save(path, {"a": random_array("complex128", (1,))})
    with pytest.raises(UnsupportedError, match="only texts"):
        save(path, {"a": array}, {"k": 1})
    with pytest.raises(UnsupportedError, match="no UTF-8 form"):
        save(path, {"\ud800": array})
    with pytest.raises(UnsupportedError, match="the format allows"):
        save(path, {"a": array}, {"k": "x" * 100_000_001})
    assert list(path.parent.iterdir()) == []


# Shards.


def sharded(folder: Path) -> tuple[Path, dict[str, LazyArray]]:
    tree = {f"layer.{i}": random_array("float32", (10,), i) for i in (3, 1, 2, 0)}
    tree["big"] = random_array("float64", (100,))
    target = folder / "model"
    save(target, tree, {"format": "pt", "long": "x" * 5000}, max_shard_size=100)
    return target, tree


def index_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "model.safetensors.index.json").read_text())
    return content


def write_index(folder: Path, **changes: Any) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({**index_of(folder), **changes}))


def test_shards_are_written_and_read(tmp_path: Path) -> None:
    folder, tree = sharded(tmp_path)
    names = sorted(file.name for file in folder.iterdir())
    assert names == [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)] + [
        "model.safetensors.index.json"
    ]
    official: dict[str, np.ndarray] = {}
    index = index_of(folder)
    for name, file in index["weight_map"].items():
        with safe_open(folder / file, framework="np") as shard:
            official[name] = shard.get_tensor(name)
            assert shard.metadata() == {"format": "pt"}
    assert index["metadata"]["total_size"] == 4 * 40 + 800
    for target in (folder, folder / "model.safetensors.index.json"):
        arrays, stored = load(target)
        assert list(arrays) == list(tree) == list(official)
        assert stored.attributes == {"format": "pt", "long": "x" * 5000}
        for name, array in tree.items():
            assert arrays[name].tobytes() == official[name].tobytes() == array.read().tobytes()


def test_an_index_file_closes_with_its_shards(tmp_path: Path) -> None:
    folder, _ = sharded(tmp_path)
    with Source(folder / "model.safetensors.index.json") as source:
        array = BACKEND.open(source).tree["big"]
        array[:1]
    with pytest.raises(ClosedError):
        array.read()


def test_shards_of_a_hub_cache_are_links_to_its_blobs(tmp_path: Path) -> None:
    folder, tree = sharded(tmp_path)
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    for target in (snapshot, snapshot / "model.safetensors.index.json"):
        arrays, _ = load(target)
        assert list(arrays) == list(tree)


def test_a_link_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    folder, _ = sharded(tmp_path)
    shard = folder / "model-00001-of-00003.safetensors"
    shard.rename(tmp_path / "elsewhere.safetensors")
    shard.symlink_to(tmp_path / "elsewhere.safetensors")
    with Source(folder) as source, pytest.raises(UnsafePathError, match="link out of the checkpoint"):
        BACKEND.open(source)
    with Source(folder, follow_symlinks=True) as source:
        assert len(BACKEND.open(source).tree) == 5


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/passwd", "a/../../x", "", ".", "..", "a\\b", "a\0b"]
)
def test_an_index_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    folder, _ = sharded(tmp_path)
    write_index(folder, weight_map={"big": name})
    for target in (folder, folder / "model.safetensors.index.json"):
        with Source(target) as source, pytest.raises(UnsafePathError, match="leads out"):
            BACKEND.open(source)


def test_index_and_shards_must_agree(tmp_path: Path) -> None:
    folder, _ = sharded(tmp_path)
    weight_map = index_of(folder)["weight_map"]
    first = "model-00001-of-00003.safetensors"

    def refused(message: str, **changes: Any) -> None:
        write_index(folder, **{"weight_map": weight_map, **changes})
        with Source(folder) as source, pytest.raises(DamagedFileError, match=message):
            BACKEND.open(source)

    refused(
        "names the shard gone.safetensors, which is not there",
        weight_map={**weight_map, "big": "gone.safetensors"},
    )
    refused("big: the index places it in model-00001", weight_map={**weight_map, "big": first})
    refused("new: the index places it", weight_map={**weight_map, "new": first})
    refused("weight_map: has no object", weight_map=[first])
    refused("weight_map: has no object", weight_map={"big": 3})
    refused("metadata: is no object", metadata=[])
    write_index(folder, metadata={})
    (folder / "sub").mkdir()
    refused("which is a directory", weight_map={"big": "sub"})
    copy = folder / "model-00009-of-00009.safetensors"
    copy.write_bytes((folder / first).read_bytes())
    refused("is both in", weight_map={**weight_map, "layer.1": copy.name})
    copy.unlink()
    (folder / first).write_bytes((folder / first).read_bytes()[:-1])
    refused(r"model-00001-of-00003\.safetensors: .*bytes .* are declared")


def test_tensors_that_the_index_leaves_out_are_kept_and_named(tmp_path: Path) -> None:
    folder, tree = sharded(tmp_path)
    weight_map = index_of(folder)["weight_map"]
    write_index(folder, weight_map={name: file for name, file in weight_map.items() if name != "layer.2"})
    arrays, stored = load(folder)
    assert sorted(arrays) == sorted(tree)
    assert "1 tensors are in the shards and not in the index, such as layer.2" in stored.notes


def test_a_total_size_that_contradicts_the_shards_is_kept(tmp_path: Path) -> None:
    folder, _ = sharded(tmp_path)
    write_index(folder, metadata={"total_size": 7, "total_parameters": 140})
    assert load(folder)[1].attributes == {"format": "pt", "total_size": 7, "total_parameters": 140}
    save(tmp_path / "again", {}, {"total_size": "unknown"}, max_shard_size=10)
    assert load(tmp_path / "again")[1].attributes == {"total_size": "unknown"}


def test_what_lies_beside_the_shards_is_named(tmp_path: Path) -> None:
    folder, _ = sharded(tmp_path)
    save(folder / "adapter.safetensors", {"a": random_array("float32", (1,))})
    assert any("beside it lie adapter.safetensors" in note for note in load(folder)[1].notes)


def test_a_directory_with_more_than_shards_is_not_claimed(tmp_path: Path) -> None:
    folder, _ = sharded(tmp_path)
    (folder / "config.json").write_text("{}")
    with Source(folder) as source:
        assert not BACKEND.sniff(source)


def test_several_indexes(tmp_path: Path) -> None:
    folder, _ = sharded(tmp_path)
    usual = folder / "model.safetensors.index.json"
    (folder / "model.fp16.safetensors.index.json").write_bytes(usual.read_bytes())
    assert len(load(folder)[0]) == 5
    usual.rename(folder / "other.safetensors.index.json")
    with Source(folder) as source, pytest.raises(UsageError, match="several indexes"):
        BACKEND.open(source)


def test_a_directory_with_one_plain_file_is_not_claimed(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", {"a": random_array("float32", (1,))})
    with Source(tmp_path) as source:
        assert not BACKEND.sniff(source)


def test_an_index_of_another_format_is_not_claimed(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": {"a": "pytorch_model-00001.bin"}}))
    with Source(path) as source:
        assert not BACKEND.sniff(source)


@pytest.mark.parametrize(
    ("size", "files"), [(1, 4), ("40B", 4), ("80", 2), ("0.08KB", 2), ("1KiB", 1), ("5GB", 1), (" 1 mb ", 1)]
)
def test_sizes_of_shards(tmp_path: Path, size: object, files: int) -> None:
    save(tmp_path / "m", {f"{i}": random_array("float32", (10,), i) for i in range(4)}, max_shard_size=size)
    assert len(list((tmp_path / "m").glob("*.safetensors"))) == files


@pytest.mark.parametrize("size", ["", "x", "-1", "0", 0, "5 parsecs", "1e3", "GB", 1.5e30])
def test_sizes_that_are_none(tmp_path: Path, size: object) -> None:
    with pytest.raises(UsageError, match="max_shard_size"):
        save(tmp_path / "m", {}, max_shard_size=size)


def test_bfloat16_is_native(path: Path) -> None:
    save(path, {"a": LazyArray.from_numpy(np.array([1.5], ml_dtypes.bfloat16))})
    assert safetensors.torch.load_file(path)["a"].dtype == torch.bfloat16


# Golden files.


@pytest.mark.parametrize("name", golden_files("safetensors"))
def test_golden_files_read_as_their_generator_wrote_them(name: str) -> None:
    expected = expectation(name)
    with Source(GOLDEN / name) as source:
        assert BACKEND.sniff(source)
        stored = BACKEND.open(source)
        check(stored.tree, expected)
        for key, text in expected.get("metadata", {}).items():
            assert stored.attributes[key] == text
