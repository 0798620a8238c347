"""Trees and key paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.aliases import unshare
from ckpt_core.errors import LimitError, UsageError
from ckpt_core.tree import (
    MAX_DEPTH,
    Alias,
    Index,
    Part,
    Record,
    flatten,
    get,
    lookup,
    map_with_path,
    parse_path,
    render_path,
    substitute,
    unflatten,
)

KEYS = st.one_of(
    st.text(),
    st.text("ab/\\[<()'"),
    st.integers(0, 99).map(Index),
    st.integers(),
    st.booleans(),
    st.none(),
    st.binary(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.tuples(st.text(), st.integers()),
    st.sampled_from(["args", "state", "appended"]).map(Part),
)


@given(st.lists(KEYS, max_size=4).map(tuple))
def test_parsing_inverts_rendering(path):
    parsed = parse_path(render_path(path))
    assert parsed == path
    assert [type(key) for key in parsed] == [type(key) for key in path]


@given(st.lists(st.lists(KEYS, max_size=3).map(tuple), unique_by=lambda p: tuple(map(repr, p)), max_size=6))
def test_rendering_is_unique(paths):
    assert len({render_path(path) for path in paths}) == len(paths)


@pytest.mark.parametrize("text", ["[x]", "(1", "<", "a/[", "(__import__('os'))"])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(UsageError, match="is not a key"):
        parse_path(text)


TREES = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=3)),
    lambda child: st.one_of(
        st.dictionaries(st.text(max_size=3), child, max_size=3),
        st.lists(child, min_size=1, max_size=3),
    ),
    max_leaves=12,
)


@given(TREES)
def test_unflatten_inverts_flatten_for_dicts_and_lists(tree):
    assert unflatten(flatten(tree)) == tree


@given(TREES)
def test_mapping_the_identity_changes_nothing(tree):
    assert map_with_path(lambda _, leaf: leaf, tree) == tree


def test_paths_that_cannot_be_a_tree_are_refused():
    with pytest.raises(UsageError, match="goes through a leaf"):
        unflatten([(("a",), 1), (("a", "b"), 2)])
    with pytest.raises(UsageError, match="given twice"):
        unflatten([(("a",), 1), (("a",), 2)])
    with pytest.raises(UsageError, match="positions of a list"):
        unflatten([((Index(1),), 1)])


def test_lookup_takes_bare_numbers_for_positions_and_integer_keys():
    tree = {"a": [10, {3: "x", "4": "y"}]}
    assert lookup(tree, "a/0") == 10
    assert lookup(tree, "a/[1]/3") == "x"
    assert lookup(tree, "a/1/4") == "y"
    with pytest.raises(KeyError, match="a/9"):
        lookup(tree, "a/9")


def test_shared_and_cyclic_containers_become_aliases():
    inner = [1, {2: 3}]
    inner.append(inner)
    tree = unshare({"a": inner, "b": (inner,), "betas": (0.9, 0.999)})
    assert tree["a"][2] == Alias(("a",))
    assert tree["b"] == (Alias(("a",)),)


def test_short_plain_tuples_are_no_sharing():
    betas = (0.9, 0.999)
    assert unshare([{"betas": betas}, {"betas": betas}]) == [{"betas": betas}, {"betas": betas}]


def test_exponential_sharing_stays_linear():
    node = [1.5]
    for _ in range(100):
        node = [node, node]
    assert len(flatten(unshare(node))) == 101


def test_depth_is_bounded_and_freeing_deep_trees_is_safe():
    deep = []
    for _ in range(500_000):
        deep = [deep]
    with pytest.raises(LimitError, match=f"deeper than {MAX_DEPTH}"):
        flatten(deep)
    with pytest.raises(LimitError, match=f"deeper than {MAX_DEPTH}"):
        unshare(deep)
    del deep


def test_records_are_mappings_that_hash_by_identity():
    record = Record("a.B", {"x": 1}, args=(2,), appended=[3], state={"y": 4})
    assert record == Record("a.B", {"x": 1}, args=(2,), appended=[3], state={"y": 4})
    assert record != Record("a.C", {"x": 1}, args=(2,), appended=[3], state={"y": 4})
    assert Record("a.B", {"x": 1}) == {"x": 1}
    assert len({record, Record("a.B")}) == 2
    assert [(render_path(path), leaf) for path, leaf in flatten(record)] == [
        ("x", 1),
        ("<args>/[0]", 2),
        ("<appended>/[0]", 3),
        ("<state>/y", 4),
    ]
    assert get(record, (Part("state"), "y")) == 4


def test_substitution_leaves_the_original_alone():
    tree = {"a": [1, (2, 3)], "b": 4}
    changed = substitute(tree, ("a", Index(1), Index(0)), 9)
    assert changed == {"a": [1, (9, 3)], "b": 4}
    assert tree == {"a": [1, (2, 3)], "b": 4}
