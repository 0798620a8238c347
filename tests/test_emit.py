"""ckpt_core.pickles.emit, with Python's pickle as the judge."""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_core.arrays import LazyArray
from ckpt_core.errors import UnsupportedError, UsageError
from ckpt_core.pickles.emit import Emitter, emit_tree
from ckpt_core.tree import Alias, Index, Record

keys = st.one_of(
    st.text(), st.integers(), st.booleans(), st.none(), st.binary(), st.tuples(st.text(), st.integers())
)
plain = st.one_of(
    keys, st.floats(allow_nan=False), st.complex_numbers(allow_nan=False), st.text(min_size=250, max_size=300)
)
trees = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(keys, inner, max_size=5),
    ),
    max_leaves=30,
)


def emitted(tree: Any, protocol: int, **callbacks: Any) -> bytes:
    parts: list[bytes] = []
    emitter = Emitter(parts.append, protocol)
    emitter.start()
    emit_tree(tree, emitter, **callbacks)
    emitter.stop()
    return b"".join(parts)


@settings(max_examples=200, deadline=None)
@given(tree=trees, protocol=st.sampled_from([2, 4]))
def test_pickle_reads_what_is_emitted(tree: Any, protocol: int) -> None:
    loaded = pickle.loads(emitted(tree, protocol))
    assert loaded == tree
    assert repr(loaded) == repr(tree)


@pytest.mark.parametrize("protocol", [2, 4])
def test_numbers_at_the_edges(protocol: int) -> None:
    ints = [sign * (1 << bits) + step for bits in (0, 7, 8, 16, 31, 32, 63, 64, 2039, 9000)
            for sign in (1, -1) for step in (-1, 0, 1)]  # fmt: skip
    assert pickle.loads(emitted(ints, protocol)) == ints
    nan, zero = pickle.loads(emitted([float("nan"), -0.0], protocol))
    assert math.isnan(nan) and math.copysign(1, zero) == -1


@pytest.mark.parametrize("protocol", [2, 4])
def test_shared_and_cyclic_containers(protocol: int) -> None:
    shared: list[Any] = [1]
    tree: dict[str, Any] = {
        "a": shared,
        "b": shared,
        "c": Alias(("a",)),
        "t": (shared, Alias(("t", Index(0)))),
    }
    tree["self"] = tree
    loaded = pickle.loads(emitted(tree, protocol))
    assert loaded["a"] is loaded["b"] is loaded["c"] is loaded["t"][0] is loaded["t"][1]
    assert loaded["self"] is loaded


@pytest.mark.parametrize("protocol", [2, 4])
def test_ordered_dicts_with_and_without_attributes(protocol: int) -> None:
    tree = [Record("collections.OrderedDict", {"b": 1, "a": 2}, state={"_metadata": {"v": 1}}),
            Record("collections.OrderedDict", {"x": 3})]  # fmt: skip
    first, second = pickle.loads(emitted(tree, protocol))
    assert type(first) is OrderedDict and list(first.items()) == [("b", 1), ("a", 2)]
    assert vars(first) == {"_metadata": {"v": 1}}
    assert type(second) is OrderedDict and second == {"x": 3}


def test_the_array_callback_may_write_raw_bytes_itself() -> None:
    parts: list[bytes] = []
    emitter = Emitter(parts.append, 4)

    def array(value: LazyArray, emitter: Emitter) -> None:
        if not emitter.recall(id(value)):
            emitter.bytes_header(value.nbytes)
            emitter.flush()
            parts.extend(bytes(tile) for tile in value.tiles())
            emitter.memoize(id(value))

    leaf = LazyArray.from_numpy(np.arange(1000, dtype=np.int32))
    emitter.start()
    emit_tree({"a": leaf, "again": [leaf], "n": 1}, emitter, array=array)
    emitter.stop()
    loaded = pickle.loads(b"".join(parts))
    assert loaded["a"] == np.arange(1000, dtype=np.int32).tobytes()
    assert loaded["again"][0] is loaded["a"]


def test_depth_does_not_recurse() -> None:
    tree: list[Any] = []
    for _ in range(100_000):
        tree = [tree]
    assert emitted(tree, 4).count(b"]") == 100_001


@pytest.mark.parametrize(
    ("tree", "match"),
    [
        ({"a": {1, 2}}, "set"),
        ([np.float32(1)], "float32"),
        ([LazyArray.from_numpy(np.ones(1))], "LazyArray"),
        ([Record("a.B", {"x": 1})], r"record of a\.B"),
        ([Alias(("nowhere",))], "leads nowhere"),
        ((1, [Alias(())]), "contains itself"),
    ],
)
def test_what_is_not_written(tree: Any, match: str) -> None:
    with pytest.raises(UnsupportedError, match=match):
        emitted(tree, 4)


def test_only_two_protocols() -> None:
    with pytest.raises(UsageError, match="protocol 3"):
        Emitter(lambda _: None, 3)
