"""Random trees, and what it means that two are the same; shared by the tests."""

from __future__ import annotations

import datetime
import math
from pathlib import PurePosixPath, PureWindowsPath

import numpy as np
from hypothesis import strategies as st

from ckpt_core.arrays import LazyArray
from ckpt_core.dtypes import ITEMSIZE
from ckpt_core.storage import MemoryStorage
from ckpt_core.tree import Global, Record, children


def arrays() -> st.SearchStrategy[LazyArray]:
    def make(dtype, shape, seed):
        count = math.prod(shape) * ITEMSIZE[dtype]
        return LazyArray(shape, dtype, MemoryStorage(np.random.default_rng(seed).bytes(count)))

    shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)
    return st.builds(make, st.sampled_from(sorted(ITEMSIZE)), shapes, st.integers(0, 9))


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**80), 2**80),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.text("$.a/"),
    st.binary(),
    st.sampled_from([np.float32(1.5), np.int64(-3), np.bool_(True), np.complex64(1j), np.float16("nan")]),
    st.datetimes(),
    st.dates(),
    st.timedeltas(),
    st.sampled_from([datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=-9.5), "MIT")]),
    st.sampled_from(
        [PurePosixPath("/a/b"), PureWindowsPath("C:/x"), Global("torch.float32"), {1, "a"}, frozenset({2})]
    ),
)
KEYS = st.one_of(
    st.text(max_size=3),
    st.text("$.ab/", max_size=3),
    st.integers(-5, 5),
    st.tuples(st.integers(0, 2), st.text(max_size=1)),
    st.none(),
    st.binary(max_size=2),
)
TREES = st.recursive(
    st.one_of(VALUES, arrays()),
    lambda child: st.one_of(
        st.dictionaries(KEYS, child, max_size=4),
        st.lists(child, max_size=3),
        st.lists(child, max_size=3).map(tuple),
        st.builds(Record, st.text(max_size=5), st.dictionaries(st.text(max_size=3), child, max_size=3)),
        st.builds(
            lambda fields, state: Record("collections.OrderedDict", fields, state={"_metadata": state}),
            st.dictionaries(st.text(max_size=3), child, max_size=3),
            st.dictionaries(st.text(max_size=2), st.tuples(st.integers()), max_size=2),
        ),
        st.builds(lambda a, s: Record("f", args=tuple(a), state=s), st.lists(child, max_size=2), child),
    ),
    max_leaves=15,
)


def same(a, b) -> bool:
    if isinstance(a, LazyArray):
        return isinstance(b, LazyArray) and a.spec == b.spec and a.read().tobytes() == b.read().tobytes()
    pairs, others = children(a), children(b)
    if pairs is not None:
        if (
            type(a) is not type(b)
            or others is None
            or [repr(k) for k, _ in pairs] != [repr(k) for k, _ in others]
        ):
            return False
        if isinstance(a, Record) and a.type_name != b.type_name:
            return False
        return all(same(x, y) for (_, x), (_, y) in zip(pairs, others, strict=True))
    if isinstance(a, np.generic):
        return type(a) is type(b) and a.tobytes() == b.tobytes()
    if isinstance(a, (datetime.datetime, datetime.time)):  # equal ones differ in the names of their zones
        return repr(a) == repr(b)
    return type(a) is type(b) and (a == b or repr(a) == repr(b))
