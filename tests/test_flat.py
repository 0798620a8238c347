"""Weights by name are those that nesting them gives, in their own order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.arrays import LazyArray
from ckpt_core.flat import flat_names
from ckpt_core.view import nest

SEGMENTS = st.sampled_from(["a", "b", "c/d", "a'", "0"])
NAMES = st.lists(st.lists(SEGMENTS, min_size=1, max_size=4).map(tuple), max_size=12)


@given(NAMES)
def test_names_are_those_of_the_nested_weights(names):
    pairs = [(name, LazyArray.from_numpy(np.zeros(i + 1))) for i, name in enumerate(names)]
    flat, nested = flat_names(pairs), nest(pairs).leaves()
    assert len(flat) == len(nested) and dict(flat) == dict(nested)


def test_the_order_is_their_own():
    pairs = [((layer, name), LazyArray.from_numpy(np.zeros(1))) for name in "wb" for layer in "ab"]
    assert [name for name, _ in flat_names(pairs)] == ["a/w", "b/w", "a/b", "b/b"]
