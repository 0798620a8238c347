"""Flax msgpack: flax.serialization as judge in both directions, chunked arrays, and hostile files."""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import optax
import pytest
from ckpt_flax.msgpack import MsgpackBackend, read_msgpack, reading, tokens, writing
from flax import struct as flax_struct
from flax.core import FrozenDict
from flax.serialization import from_bytes, msgpack_restore, to_bytes
from flax.training import checkpoints, train_state
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ckpt_core.arrays import LazyArray, Piece
from ckpt_core.backend import Stored
from ckpt_core.dtypes import ITEMSIZE
from ckpt_core.errors import CheckpointError, DamagedFileError, LimitError, UnsupportedError
from ckpt_core.fitting.fit import fit
from ckpt_core.sink import Sink
from ckpt_core.source import Source
from ckpt_core.testing import differences, random_array
from ckpt_core.tree import MAX_DEPTH, Record, flatten, map_with_path
from tests.backends.golden_files import GOLDEN, check, expectation, golden_files

BACKEND = MsgpackBackend()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.msgpack"


def save(path: Path, tree: Any, attributes: Mapping[str, Any] | None = None) -> bytes:
    with Sink(path, force=True) as sink:
        BACKEND.save(Stored(tree, attributes or {}), sink, {})
    return path.read_bytes()


def read(path: Path, content: bytes) -> Stored:
    """Open bytes, and read all arrays into memory."""
    path.write_bytes(content)
    with Source(path) as source:
        stored = BACKEND.open(source)
        return Stored(
            map_with_path(lambda _, leaf: in_memory(leaf), stored.tree), stored.attributes, stored.notes
        )


def in_memory(leaf: Any) -> Any:
    return LazyArray.from_numpy(leaf.read()) if isinstance(leaf, LazyArray) else leaf


def claims(path: Path, content: bytes) -> bool:
    path.write_bytes(content)
    with Source(path) as source:
        return BACKEND.sniff(source)


def live(tree: Any) -> Any:
    """The tree as Flax has it: numpy arrays."""
    return map_with_path(lambda _, leaf: leaf.read() if isinstance(leaf, LazyArray) else leaf, tree)


def lazy(tree: Any) -> Any:
    """The inverse of `live`."""
    return map_with_path(
        lambda _, leaf: LazyArray.from_numpy(leaf) if isinstance(leaf, np.ndarray) else leaf, tree
    )


def msgpack_serialize(tree: Any) -> bytes:
    """What Flax writes for a tree; in place, or it would sort the keys."""
    return flax.serialization.msgpack_serialize(live(tree), in_place=True)


# Flax on the other side.


def test_reads_every_dtype(path: Path) -> None:
    tree = {
        name: {"a": random_array(name, (2, 3)), "0": random_array(name, ()), "e": random_array(name, (0, 2))}
        for name in ITEMSIZE
    }
    assert differences(tree, read(path, msgpack_serialize(tree)).tree) == []


def test_numpy_scalars_keep_their_dtype(path: Path) -> None:
    scalars = {name: random_array(name, (1,)).read()[0] for name in ITEMSIZE}
    content = msgpack_serialize(scalars)
    assert differences(scalars, read(path, content).tree) == []
    assert save(path, scalars) == content


def test_writes_the_bytes_that_flax_writes(path: Path) -> None:
    values = [
        None,
        True,
        False,
        0.5,
        -0.0,
        float("inf"),
        1 - 2j,
        "",
        "x" * 31,
        "x" * 32,
        "ä" * 200,
        "x" * 70_000,
        b"",
        b"x" * 300,
    ]
    values += [b"x" * 70_000, np.float32(0.1), np.float64(0.1), np.bool_(True), np.int8(-1), "\0"]
    for bits in (0, 5, 6, 7, 8, 15, 16, 31, 32, 62, 63):
        values += [
            sign * (1 << bits) + step
            for sign in (1, -1)
            for step in (-1, 0, 1)
            if sign * (1 << bits) + step >= -(2**63)
        ]
    values.append(2**64 - 1)
    tree: dict[str, Any] = {f"v{i}": value for i, value in enumerate(values)}
    tree["arrays"] = {
        f"{name}{i}": random_array(name, shape, i)
        for name in ITEMSIZE
        for i, shape in enumerate([(), (0,), (3, 5), (1,) * 17, (300,), (70_000,)])
    }
    tree["sixteen"] = {str(i): {} for i in range(16)}
    tree["lists"] = [[], [1] * 15, [2] * 16, list(range(70_000))]
    assert save(path, tree) == msgpack_serialize(tree)


def test_reads_what_it_writes_as_flax_does(path: Path) -> None:
    tree = {
        "a": [1, [2.5, None]],
        "b": {"c": b"x", "d": 1j, "e": ""},
        "f": -(2**63),
        "g": 2**64 - 1,
        "h": {},
        "i": [],
    }
    content = save(path, tree)
    assert differences(tree, read(path, content).tree) == []
    assert differences(tree, msgpack_restore(content)) == []


def state_of(seed: int) -> train_state.TrainState:
    random = np.random.default_rng(seed)
    params = {
        "Dense_0": {
            "kernel": jnp.asarray(random.normal(size=(3, 4)), jnp.float32),
            "bias": jnp.zeros(4, jnp.bfloat16),
        }
    }
    optimizer = optax.chain(optax.clip(1.0), optax.adamw(optax.linear_schedule(1e-3, 1e-4, 10)))
    return train_state.TrainState.create(apply_fn=None, params=params, tx=optimizer).replace(step=seed)


def test_a_train_state_goes_to_flax_and_back(path: Path) -> None:
    state = state_of(7)
    content = to_bytes(state)
    stored = read(path, content)
    assert stored.tree["step"] == 7
    assert list(stored.tree["opt_state"]) == ["0", "1"]
    assert stored.tree["params"]["Dense_0"]["bias"].dtype == "bfloat16"
    again = save(path, stored.tree, {"note": "hidden"})
    assert again != content
    restored = from_bytes(state_of(0), again)
    expected = jax.tree_util.tree_leaves(state)
    for ours, theirs in zip(jax.tree_util.tree_leaves(restored), expected, strict=True):
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()
    assert save(path, stored.tree) == content


def test_lists_and_tuples_restore_into_flax_targets(path: Path) -> None:
    """from_bytes looks for lists as dictionaries of numbered texts, so core is told to write them so."""
    tree = {"layers": [random_array("float32", (2,), i) for i in range(3)], "pair": (1, {"x": ()}), 5: None}
    assert BACKEND.holds is not None
    fitted = fit(Stored(tree), BACKEND.holds)
    assert not fitted.losses
    content = save(path, fitted.stored.tree, fitted.stored.attributes)
    target = {"layers": [np.zeros(2, np.float32)] * 3, "pair": (0, {"x": ()}), 5: None}
    restored = from_bytes(target, content)
    assert differences(tree, lazy(restored)) == []


def test_other_flax_containers(path: Path) -> None:
    @flax_struct.dataclass
    class Config:
        scale: float
        names: tuple[str, ...]

    content = to_bytes({"c": Config(0.5, ("a", "b")), "f": FrozenDict({"x": {"y": 1}})})
    assert read(path, content).tree == {
        "c": {"scale": 0.5, "names": {"0": "a", "1": "b"}},
        "f": {"x": {"y": 1}},
    }


def test_legacy_checkpoint_files(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint_3"
    file.write_bytes(to_bytes(state_of(3)))
    with Source(file) as source:
        assert BACKEND.sniff(source)
        assert BACKEND.open(source).tree["step"] == 3
    restored = checkpoints.restore_checkpoint(str(file), state_of(0))
    assert restored.step == 3


def test_read_msgpack_reads_a_window(path: Path) -> None:
    content = msgpack_serialize({"a": np.arange(3)})
    path.write_bytes(b"before" + content + b"after")
    with Source(path) as source:
        assert read_msgpack(source.window(6, len(content)))["a"].read().tolist() == [0, 1, 2]


# Chunks.


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let both sides split at 40 bytes instead of 1 GiB."""
    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 40)
    monkeypatch.setattr(writing, "MAX_CHUNK", 40)


@pytest.mark.usefixtures("small_chunks")
def test_chunked_arrays(path: Path) -> None:
    tree = {
        "exact": random_array("float32", (2, 5)),
        "nested": {"over": random_array("float32", (11,)), "wide": random_array("complex128", (2, 3, 1))},
        "many": random_array("int8", (7, 101)),
    }
    content = msgpack_serialize(tree)
    assert content.count(b"__msgpack_chunked_array__") == 3
    assert save(path, tree) == content
    path.write_bytes(content)
    with Source(path) as source:
        stored = BACKEND.open(source)
        assert differences(tree, stored.tree) == []
        many = tree["many"].read()
        assert stored.tree["many"][3:5].tolist() == many[3:5].tolist()
        again = path.with_name("again")
        assert save(again, stored.tree) == content
    assert differences(tree, lazy(msgpack_restore(content))) == []


@pytest.mark.usefixtures("small_chunks")
def test_chunks_of_arrays_that_are_not_contiguous(path: Path) -> None:
    whole = random_array("float32", (12, 10))
    storage = whole.pieces[0].storage
    transposed = LazyArray((10, 12), "float32", storage, 0, (4, 40))
    halves = [Piece(storage, 40 * i, None, ((i, i + 1), (0, 10))) for i in range(12)]
    pieces = LazyArray.from_pieces((12, 10), "float32", halves)
    content = save(path, {"t": transposed, "p": pieces})
    data = whole.read()
    assert content == msgpack_serialize({"t": np.ascontiguousarray(data.T), "p": data})


def test_the_real_limit_is_that_of_flax() -> None:
    assert writing.MAX_CHUNK == flax.serialization.MAX_CHUNK_SIZE


def chunked(shape: Any, chunks: Any) -> bytes:
    return msgpack_serialize({"a": {"__msgpack_chunked_array__": True, "shape": shape, "chunks": chunks}})


@pytest.mark.parametrize(
    ("shape", "chunks", "message"),
    [
        (None, {"0": np.zeros(2)}, "no shape"),
        ({"0": -1}, {"0": np.zeros(2)}, "no shape"),
        ({"1": 2}, {"0": np.zeros(2)}, "no shape"),
        ({"0": 2.0}, {"0": np.zeros(2)}, "no shape"),
        ({"0": 2}, {}, "no chunks"),
        ({"0": 2}, {"0": 1}, "no chunks"),
        ({"0": 2}, [np.zeros(2)], "no chunks"),
        ({"0": 2}, {"1": np.zeros(2)}, "no chunks"),
        ({"0": 3}, {"0": np.zeros(2)}, "do not fill"),
        ({"0": 2**62, "1": 4}, {"0": np.zeros(2)}, "do not fill"),
        ({"0": 2}, {"0": np.zeros((2, 1))}, "not flat"),
        ({"0": 4}, {"0": np.zeros(2), "1": np.zeros(2, np.float32)}, "differ in dtype"),
    ],
)
def test_chunks_that_contradict_themselves(path: Path, shape: Any, chunks: Any, message: str) -> None:
    with pytest.raises(DamagedFileError, match=message):
        read(path, chunked(shape, chunks))


# Metadata.


@pytest.mark.parametrize(
    "tree",
    [
        {"a": 1},
        {"params": {"w": random_array("float32", (2,))}, "step": 3},
        {"": None},
        {"ckpt_core": 5},
        {3: 1, "a": 2},
    ],
    ids=repr,
)
def test_flax_does_not_see_the_metadata(path: Path, tree: Any) -> None:
    attributes = {"text": 'ä "x"', "nested": {"a": [1, None, 0.5]}}
    content = save(path, tree, attributes)
    stored = read(path, content)
    assert stored.attributes == attributes
    assert differences(tree, stored.tree) == []
    restored = msgpack_restore(content)
    assert differences(tree, lazy(restored)) == []
    assert list(restored) == list(tree)
    if all(isinstance(key, str) for key in tree):
        assert differences(tree, lazy(from_bytes(live(tree), content))) == []


def test_metadata_beside_an_empty_tree(path: Path) -> None:
    content = save(path, {}, {"a": 1})
    stored = read(path, content)
    assert (stored.tree, stored.attributes) == ({}, {"a": 1})
    assert from_bytes({}, content) == {}
    assert save(path, {}) == msgpack_serialize({})


@pytest.mark.parametrize("text", ["ckpt_core:", 'ckpt_core:{"a":1}', "ckpt_core:x"])
def test_a_tree_that_looks_like_metadata(path: Path, text: str) -> None:
    for tree in ({"ckpt_core": text}, {"ckpt_core": text, "b": 1}, {"x": text}, {"x": text, "y": text}):
        for attributes in ({}, {"a": 1}):
            stored = read(path, save(path, tree, attributes))
            assert (stored.tree, stored.attributes) == (tree, attributes)


@pytest.mark.parametrize("text", ["x", "[1]", '{"a":', "[" * 100_000], ids=lambda text: text[:4])
def test_metadata_that_is_damaged(path: Path, text: str) -> None:
    key, value = msgpack.packb("a"), msgpack.packb("ckpt_core:" + text)
    with pytest.raises(DamagedFileError, match="metadata entry: is "):
        read(path, b"\x82" + key + value + key + b"\x01")


def test_metadata_needs_a_dictionary(path: Path) -> None:
    with pytest.raises(UnsupportedError, match="top level is a dictionary"):
        save(path, [1], {"a": 1})


# Other values.


def test_what_has_no_neutral_form_is_a_record(path: Path) -> None:
    content = msgpack_serialize(
        {"d": np.array(["2020-01-01"], "datetime64[D]"), "s": np.array(["ab"]), "n": np.str_("x")}
    )
    tree = read(path, content + b"").tree
    assert [record.type_name for record in tree.values()] == ["numpy.ndarray"] * 3
    assert (
        tree["d"]["dtype"] == "datetime64[D]" and tree["d"]["shape"] == [1] and tree["d"]["data"].nbytes == 8
    )
    assert tree["s"]["dtype"] == "str64" and tree["s"]["data"].nbytes == 8
    assert tree["n"]["shape"] == []
    extension = read(
        path, msgpack.packb({"t": msgpack.ExtType(5, b"xyz"), "u": msgpack.Timestamp(1, 2)})
    ).tree
    assert extension["t"] == Record("msgpack.ExtType", {"code": 5, "data": b"xyz"})
    assert extension["u"]["code"] == -1


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (msgpack.ExtType(1, msgpack.packb(((2,), "flot32", bytes(8)))), "the unknown dtype 'flot32'"),
        (msgpack.ExtType(1, msgpack.packb(((2,), "int67", bytes(8)))), "the unknown dtype 'int67'"),
        (msgpack.ExtType(1, msgpack.packb(((2,), "O", bytes(16)))), "the unknown dtype 'O'"),
        (msgpack.ExtType(3, msgpack.packb(((), "V8,O", bytes(16)))), "the unknown dtype 'V8,O'"),
        (b"\xc7\x04\xfe1234", "the reserved type -2 has 4 bytes"),
        (b"\xc7\x03\xff123", "the reserved type -1 has 3 bytes"),
    ],
)
def test_what_msgpack_or_numpy_would_refuse(path: Path, value: Any, reason: str) -> None:
    packed = value if isinstance(value, bytes) else msgpack.packb(value)
    with pytest.raises(DamagedFileError, match=reason):
        read(path, b"\x81\xa1w" + packed)


def test_keys_of_other_types(path: Path) -> None:
    tree = {1: "a", -5: "b", 1.5: "c", None: "d", b"x": "e", False: "f", "g": "h"}
    assert differences(tree, read(path, msgpack.packb(tree)).tree) == []


def test_old_and_odd_encodings(path: Path) -> None:
    raw_text = msgpack.ExtType(1, msgpack.packb(((2,), "float32", bytes(8)), use_bin_type=False))
    assert read(path, msgpack.packb({"a": raw_text})).tree["a"].shape == (2,)
    assert read(path, msgpack.packb({"a": 0.5}, use_single_float=True)).tree == {"a": 0.5}
    assert read(
        path, b"\xdf\x00\x00\x00\x01\xdb\x00\x00\x00\x01a\xd3\x00\x00\x00\x00\x00\x00\x00\x05"
    ).tree == {"a": 5}
    integers = msgpack.ExtType(2, msgpack.packb((1, 2)))
    assert read(path, msgpack.packb({"a": integers})).tree == {"a": 1 + 2j}


@pytest.mark.parametrize(
    "tree", [{"a": object()}, {"a": {(1, 2): 1}}, {"a": 2**64}, {"a": "\ud800"}, {"a": np.str_("x")}]
)
def test_what_cannot_be_written_is_said(path: Path, tree: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"^a: "):
        save(path, tree)
    assert list(path.parent.iterdir()) == []


def test_the_key_that_flax_takes_for_chunks_is_refused(path: Path) -> None:
    with pytest.raises(UnsupportedError, match="means something else"):
        save(path, {"a": {"__msgpack_chunked_array__": 1}})


# Claims.


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1},
        {"params": {}},
        {str(i): i for i in range(1000)},
        {},
        {0: 1},
        [1, "a"],
        np.zeros(3),
        np.float32(1),
        1j,
        {"x": b"\xff" * 10},
    ],
    ids=lambda value: repr(value)[:20],
)
def test_claims_what_flax_writes(path: Path, value: Any) -> None:
    assert claims(path, msgpack_serialize(value))


def test_claims_a_truncated_file_and_says_what_is_wrong(path: Path) -> None:
    content = msgpack_serialize({"params": {"kernel": np.zeros((10, 10))}})
    for length in [*range(8, 60), *range(60, len(content), 97), len(content) - 1]:
        assert claims(path, content[:length]), length
        with pytest.raises(DamagedFileError, match=r"inside a value|more than the bytes that follow"):
            read(path, content[:length])


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02}q\x00.",
        b"\x80\x04\x95",
        b"\x05",
        b"\xc0",
        b"\xa3abc",
        b"\x93NUMPY\x01\x00",
        b"\x89HDF\r\n\x1a\n" + bytes(99),
        b"\x81\x00",
        b"\x81\xa0",
        b"\x81\xa2\xff\xfe\x01",
        b"\xde\xff\xff\xa1a",
        b"\x81\xa1a\xc1",
        b"\x91" * 50,
    ],
    ids=repr,
)
def test_denies_what_is_none(path: Path, content: bytes) -> None:
    assert not claims(path, content)


def test_an_empty_name_is_claimed_only_when_all_of_it_parses(path: Path) -> None:
    assert claims(path, b"\x81\xa0\x01")
    assert not claims(path, b"\x81\xa0\xa5abc")


# Hostile bytes.


def ndarray(shape: Any, dtype: Any, data: Any, code: int = 1) -> bytes:
    return b"\x81\xa1a" + msgpack.packb(msgpack.ExtType(code, msgpack.packb((shape, dtype, data))))


BAD: dict[str, tuple[bytes, str]] = {
    "a byte behind": (b"\x81\xa1a\x01\x00", "1 bytes follow after the end"),
    "the unused code": (b"\x81\xa1a\xc1", "byte 3: holds the byte 0xc1"),
    "a key twice": (b"\x82\xa1a\x01\xa1a\x02", "byte 4: the key 'a' is there twice"),
    "equal keys": (b"\x82\x01\x01\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\x01", "there twice"),
    "a map as a key": (b"\x81\x80\x01", "no plain value"),
    "a list as a key": (b"\x81\x91\x01\x01", "no plain value"),
    "an extension as a key": (b"\x81\xd4\x01\x01\x01", "no plain value"),
    "text that is no UTF-8": (b"\x81\xa1a\xa1\xff", "byte 4: text is not valid UTF-8"),
    "a key that is no UTF-8": (b"\x81\xa1\xff\x01", "byte 2: text is not valid UTF-8"),
    "a map of 2^32 entries": (b"\xdf\xff\xff\xff\xff\xa1a\x01", "4294967295 entries are declared"),
    "a list of 2^32 entries": (b"\x81\xa1a\xdd\xff\xff\xff\xff\x01", "4294967295 entries are declared"),
    "a text of 4 GiB": (b"\x81\xa1a\xdb\xff\xff\xff\xff", "beyond the"),
    "bytes of 4 GiB": (b"\x81\xa1a\xc6\xff\xff\xff\xff", "beyond the"),
    "an extension of 4 GiB": (b"\x81\xa1a\xc9\xff\xff\xff\xff\x01", "inside a value"),
    "nested maps": (b"\x81\xa1a" * 500_000 + b"\x01", "nested deeper than"),
    "nested lists": (b"\x91" * 500_000 + b"\x01", "nested deeper than"),
    "nested empty extensions": (b"\xd4\x01" * 1000, "no triple"),
    "a shape of 2^62": (ndarray((2**62,), "float32", b""), "does not take 0 bytes"),
    "a shape that overflows": (ndarray((2**63, 2), "float32", b""), "does not take 0 bytes"),
    "an empty shape that overflows": (ndarray((2**62, 2**62, 0), "float32", b""), "impossible shape"),
    "a negative shape": (ndarray((-1,), "float32", bytes(4)), "impossible shape"),
    "a shape of floats": (ndarray((1.0,), "float32", bytes(4)), "impossible shape"),
    "a shape of truth": (ndarray((True,), "float32", bytes(4)), "impossible shape"),
    "65 dimensions": (ndarray((1,) * 65, "float32", bytes(4)), "at most 64 dimensions"),
    "a shape that is a number": (ndarray(4, "float32", bytes(4)), "at most 64 dimensions"),
    "too few bytes": (ndarray((2,), "float32", bytes(7)), "does not take 7 bytes"),
    "too many bytes": (ndarray((2,), "float32", bytes(9)), "does not take 9 bytes"),
    "bytes that are a list": (ndarray((2,), "float32", [1, 2]), "has no bytes"),
    "a dtype that is a number": (ndarray((2,), 4, bytes(8)), "no dtype name"),
    "a long dtype": (ndarray((2,), "f" * 2000, bytes(8)), "no dtype name"),
    "a dtype that is no text": (ndarray((2,), b"\xff", bytes(8)), "not valid UTF-8"),
    "an array of four parts": (b"\x81\xa1a\xc7\x05\x01\x94\x90\xa1x\xc0", "no triple"),
    "an array beyond its extension": (
        b"\x81\xa1a\xc7\x03\x01\x93\x91\x02\xa5uint8\xc4\x02\x00\x00",
        "of 3 bytes holds",
    ),
    "an array short of its extension": (
        b"\x81\xa1a\xc7\x0f\x01\x93\x91\x02\xa5uint8\xc4\x02\x00\x00\x00\x00",
        "holds a value",
    ),
    "a complex of one": (b"\x81\xa1a\xd5\x02\x91\x01", "no pair of numbers"),
    "a complex of texts": (b"\x81\xa1a\xc7\x05\x02\x92\xa1a\xa1b", "no pair of numbers"),
    "a complex of truth": (b"\x81\xa1a\xc7\x03\x02\x92\xc3\xc2", "no pair of numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_refuses_damaged_files(path: Path, name: str) -> None:
    content, message = BAD[name]
    with pytest.raises(DamagedFileError, match=message):
        read(path, content)


def test_depth(path: Path) -> None:
    def nested(depth: int) -> bytes:
        return b"\x81\xa1a" * depth + b"\x01"

    assert isinstance(read(path, nested(MAX_DEPTH)).tree, dict)
    assert isinstance(msgpack_restore(nested(MAX_DEPTH)), dict)
    with pytest.raises(LimitError, match="nested deeper"):
        read(path, nested(MAX_DEPTH + 1))


def test_too_many_values(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_NODES", 1000)
    assert len(read(path, msgpack.packb([0] * 999)).tree) == 999
    with pytest.raises(LimitError, match="more than 1000 values"):
        read(path, msgpack.packb([0] * 1000))


def test_values_across_the_blocks_of_reading(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = {
        f"key{i}": [i * 1000, "x" * (i % 40), random_array("int16", (i % 9,), i), i / 7, np.int32(i)]
        for i in range(300)
    }
    content = msgpack_serialize(tree)
    for block in (9, 10, 64, 1000):
        monkeypatch.setattr(tokens, "_BLOCK", block)
        assert differences(tree, read(path, content).tree) == []


def test_arrays_are_not_read_when_it_is_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = msgpack_serialize({"a": np.zeros(1 << 22), "b": np.ones(1 << 22), "c": 5})
    path.write_bytes(content)
    read_bytes = []
    original = Source.read

    def counted(self: Source, offset: int, length: int) -> bytes:
        read_bytes.append(length)
        return original(self, offset, length)

    monkeypatch.setattr(Source, "read", counted)
    with Source(path) as source:
        tree = BACKEND.open(source).tree
        assert tree["c"] == 5
        assert tree["b"][7] == 1
        assert 0 < sum(read_bytes) < len(content) // 50


def many_leaves() -> dict[str, Any]:
    """Leaves of a few kinds over and over, as in a model, and some that come near them."""
    layers = {
        str(i): {
            "attention": {
                "kernel": random_array("float32", (3, 4), i),
                "bias": random_array("float16", (4,), i),
            },
            "scale": random_array("float32", (4, 3), i),
            "a name of more than thirty-one bytes": random_array("bfloat16", (i % 3,), i),
            "ünï": random_array("uint8", (300,), i),
            "step": i,
            "number": np.float32(i),
            "empty": {},
            "text": "x" * (i % 50),
        }
        for i in range(9)
    }
    wide = {f"k{i}": random_array("int8", (2,), i) for i in range(40)}
    return {"params": layers, "wide": wide, "large": random_array("float32", (5000,)), "last": {"": 1}}


def outcome(path: Path, content: bytes) -> Any:
    """What is in a file, down to the bits, or the error that it ends in."""
    try:
        leaves = flatten(read(path, content).tree)
    except CheckpointError as error:
        return str(error)
    return [(at, leaf.tobytes() if isinstance(leaf, np.ndarray) else repr(leaf)) for at, leaf in leaves]


def test_what_repeats_is_read_as_what_does_not(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = many_leaves()
    content = msgpack_serialize(tree)
    assert differences(tree, read(path, content).tree) == []
    rng = np.random.default_rng(0)
    spoiled = [content[:length] for length in rng.integers(1, len(content), 40)]
    for at, byte in zip(rng.integers(0, 6000, 100), rng.integers(0, 256, 100), strict=True):
        spoiled.append(content[:at] + bytes([byte]) + content[at + 1 :])
    for at, other in rng.integers(0, len(content) - 600, (40, 2)):
        spoiled.append(content[:at] + content[other : other + 500] + content[at + 500 :])
    quick = [outcome(path, each) for each in spoiled]
    monkeypatch.setattr(reading, "_GUARD", 1 << 30)
    assert differences(tree, read(path, content).tree) == []
    assert [outcome(path, each) for each in spoiled] == quick
    assert len({text for text in quick if isinstance(text, str)}) > 60


def test_equal_keys_and_heads_of_arrays_are_one_object(path: Path) -> None:
    path.write_bytes(msgpack_serialize(many_leaves()))
    with Source(path) as source:
        layers = BACKEND.open(source).tree["params"]
        first, other = layers["3"], layers["6"]
        assert all(mine is theirs for mine, theirs in zip(first, other, strict=True))
        assert first["scale"].shape is other["scale"].shape


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.binary(max_size=40),
    st.complex_numbers(allow_nan=False),
    st.builds(random_array, st.sampled_from(sorted(ITEMSIZE)), st.lists(st.integers(0, 3), max_size=3)),
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
TREES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES)
def test_writes_and_reads_any_tree_as_flax_does(path: Path, tree: Any) -> None:
    content = save(path, tree)
    assert content == msgpack_serialize(tree)
    assert differences(tree, read(path, content).tree) == []


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=60),
    start=st.sampled_from([b"", b"\x81\xa1a", b"\x81\xa1a\xc7\x0e\x01", b"\x92", b"\xde\x00\x01\xa1b"]),
)
def test_any_bytes_are_read_or_refused(path: Path, content: bytes, start: bytes) -> None:
    """Where ours reads, msgpack reads the same; what ours refuses is refused as a CheckpointError."""
    data = start + content
    try:
        tree = read(path, data).tree
    except CheckpointError:
        return
    theirs = msgpack.unpackb(data, strict_map_key=False, raw=False)
    assert type(tree) is type(theirs) or isinstance(theirs, (msgpack.ExtType, msgpack.Timestamp))


def test_floats_keep_their_payload(path: Path) -> None:
    content = b"\x81\xa1a\xcb\x7f\xf8\x00\x00\x00\x00\x12\x34"
    tree = read(path, content).tree
    assert struct.pack(">d", tree["a"]) == content[4:]
    assert save(path, tree) == content


def test_it_needs_neither_flax_nor_msgpack() -> None:
    import subprocess

    code = (
        "import sys, ckpt_flax.msgpack; assert not {'flax', 'jax', 'msgpack', 'ml_dtypes'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Golden files.


@pytest.mark.parametrize("name", golden_files("msgpack"))
def test_golden_files_read_as_their_generator_wrote_them(name: str) -> None:
    expected = expectation(name)
    with Source(GOLDEN / name) as source:
        assert BACKEND.sniff(source)
        stored = BACKEND.open(source)
        check(stored.tree, expected)
